"""Layers of all members at once: each member's inputs through its own weights.

A layer takes stacked parameters by name – of shape (members, *shape), as torch stores one member's – and
inputs of shape (members, batch, …). Images are (…, height, width, channels), as RLlib flattens them.

Gradients of dense layers, tanh and ReLU are written out, since autograd's take twice as long and fresh
memory each. All others are autograd's, layer by layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from rllib_ext.packed.scratch import Room, Scratch

# From the gradient of a layer's outputs to that of its inputs, None where nobody needs it. Those of the
# layer's parameters are written into the second argument, by name.
Backward = Callable[[Tensor, Mapping[str, Tensor]], Tensor | None]
_MINUS_ONE = torch.tensor(-1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Applied:
    """The output of a layer, with its backward pass.

    Attributes:
        output: Output of the layer.
        backward: Takes the output's gradients; called at most once, and may overwrite its argument.
        read: By the name of the layer's weight, what that weight was multiplied with, of shape (members,
            batch, …, units or channels); {} for a layer without weights.
    """

    output: Tensor
    backward: Backward
    read: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


class Layer(Protocol):
    """One step from observations to outputs."""

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Applies the layer.

        Args:
            parameters: Stacked, by name.
            inputs: Inputs of the layer.
            scratch: Memory for the outputs, valid until the next call; None allocates fresh memory.
        """
        ...

    def applied(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch, *, first: bool
    ) -> Applied:
        """Applies the layer so that gradients can be taken.

        Args:
            parameters: Stacked, by name.
            inputs: Inputs of the layer.
            scratch: Memory for results, valid until the next minibatch.
            first: Whether the gradient of the inputs is of no use: observations have none.
        """
        ...


Layers = tuple[Layer, ...]


@dataclasses.dataclass(frozen=True)
class Dense:
    """A linear layer.

    Attributes:
        weight: Name of the layer's weight among the module's parameters.
        bias: Name of the layer's bias; "" without one.
        tanh: Whether the hyperbolic tangent of its outputs is taken.
    """

    weight: str
    bias: str
    tanh: bool = False

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Inputs of shape (members, batch, in) to (members, batch, out)."""
        weight, bias = parameters[self.weight], parameters.get(self.bias)
        shape = (*inputs.shape[:2], weight.shape[1])
        room = scratch.room(self.weight, shape, weight) if scratch else Room.of(shape, weight)
        output, transposed = room.values, weight.transpose(1, 2)
        quick = self.tanh and _sigmoid_is_quick(output)
        factor = 2 if quick else 1
        if bias is None:
            torch.bmm(inputs, transposed, out=output)
            if quick:
                output *= factor
        else:
            start = bias.unsqueeze(1)
            torch.baddbmm(start, inputs, transposed, beta=factor, alpha=factor, out=output)
        if quick:
            # An element that fills no vector goes through another formula: all vectors are whole.
            torch.add(_MINUS_ONE, room.vectors.sigmoid_(), alpha=2, out=room.vectors)
        elif self.tanh:
            output.tanh_()
        return output

    def applied(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch, *, first: bool
    ) -> Applied:
        """See `Layer.applied`."""
        weight = parameters[self.weight]
        output = self(parameters, inputs, scratch)

        def backward(gradient: Tensor, into: Mapping[str, Tensor]) -> Tensor | None:
            if self.tanh:
                torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)
            into[self.weight].copy_(_outer_sum(gradient, inputs))
            if self.bias:
                torch.sum(gradient, dim=1, out=into[self.bias])
            if first:
                return None
            room = scratch.room("gradient", inputs.shape, weight)
            if room.values.data_ptr() == gradient.data_ptr():
                room = scratch.room("other gradient", inputs.shape, weight)
            return torch.bmm(gradient, weight, out=room.values)

        return Applied(output=output, backward=backward, read={self.weight: inputs})


@dataclasses.dataclass(frozen=True)
class Activation:
    """A layer that acts on each element by itself.

    Attributes:
        function: The activation function.
    """

    function: nn.Module

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Inputs of any shape."""
        # Not the module itself: calling one takes longer than a small batch's tanh.
        output: Tensor = self.function.forward(inputs)
        return output

    def applied(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch, *, first: bool
    ) -> Applied:
        """See `Layer.applied`."""
        if type(self.function) is nn.ReLU:
            output = torch.relu(inputs)
            return Applied(
                output=output,
                backward=lambda gradient, _: torch.ops.aten.threshold_backward(gradient, output, 0),
            )
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            attached = self(parameters, leaf)
        return Applied(
            output=attached.detach(),
            backward=lambda gradient, _: torch.autograd.grad(attached, leaf, gradient)[0],
        )


@dataclasses.dataclass(frozen=True)
class Reshape:
    """Gives each observation of a batch a shape.

    Attributes:
        shape: The shape that the layer gives its inputs.
    """

    shape: tuple[int, ...]

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Inputs of shape (members, batch, …) to (members, batch, *shape)."""
        return inputs.reshape(*inputs.shape[:2], *self.shape)

    def applied(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, scratch: Scratch, *, first: bool
    ) -> Applied:
        """See `Layer.applied`."""
        return Applied(
            output=self(parameters, inputs),
            backward=lambda gradient, _: gradient.reshape(inputs.shape),
        )


def apply(
    layers: Layers,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    scratch: Scratch | None = None,
) -> Tensor:
    """One layer after the other; arguments as `Layer`."""
    for layer in layers:
        inputs = layer(parameters, inputs, scratch)
    return inputs


def applied(
    layers: Layers,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    scratch: Scratch,
    *,
    first: bool,
) -> Applied:
    """One layer after the other, so that gradients can be taken; arguments as `Layer.applied`."""
    done: list[Applied] = []
    for layer in layers:
        # Nothing in front of the first weights has parameters that would need a gradient.
        leading = first and not any(step.read for step in done)
        done.append(layer.applied(parameters, inputs, scratch, first=leading))
        inputs = done[-1].output
    return Applied(
        output=inputs,
        backward=lambda gradient, into: _backward(done, gradient, into),
        read={name: value for step in done for name, value in step.read.items()},
    )


def _backward(
    done: Sequence[Applied], gradient: Tensor, into: Mapping[str, Tensor]
) -> Tensor | None:
    found: Tensor | None = gradient
    for step in reversed(done):
        if found is None:
            break
        found = step.backward(found, into)
    return found


def _sigmoid_is_quick(values: Tensor) -> bool:
    """Whether tanh is computed as 2 · sigmoid(2x) − 1, within 2e-7 of torch's in single precision.

    Torch's own takes four times as long on a CPU, and more than the matrix product before it. Threads
    leave elements over that fill no vector, wherever they happen to lie: with several of them a member's
    last bits would depend on who else is in the pack.
    """
    return values.device.type == "cpu" and torch.get_num_threads() == 1


def _outer_sum(one: Tensor, other: Tensor) -> Tensor:
    """Sums of outer products over the batch, of shape (members, units of one, units of other)."""
    # MKL takes six times as long where the narrow side comes last.
    if other.shape[2] < one.shape[2]:
        return torch.bmm(other.transpose(1, 2), one).transpose(1, 2)
    return torch.bmm(one.transpose(1, 2), other)
