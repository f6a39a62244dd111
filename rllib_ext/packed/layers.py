"""Layers of all members at once: each member's inputs through its own weights.

A layer takes stacked parameters by name – of shape (members, *shape), as torch stores one member's – and
inputs of shape (members, batch, …). Images are (…, height, width, channels), as RLlib flattens them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(Protocol):
    """One step from observations to outputs."""

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Applies it."""
        ...


Layers = tuple[Layer, ...]


@dataclasses.dataclass(frozen=True)
class Dense:
    """A linear layer.

    Attributes:
        weight: Name of the layer's weight among the module's parameters.
        bias: Name of the layer's bias; "" without one.
    """

    weight: str
    bias: str

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Inputs of shape (members, batch, in) to (members, batch, out)."""
        return _linear(parameters[self.weight].transpose(1, 2), parameters.get(self.bias), inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution of images, with zeros around them.

    The first one of a network multiplies a matrix of windows: it needs no gradient of its inputs, and
    then that is up to twice as fast on a CPU as grouped convolution (16 channels of 3 × 3 on
    10 × 10 × 4). With that gradient it is the slower one.

    Attributes:
        weight: Name of the layer's weight among the module's parameters.
        bias: Name of the layer's bias; "" without one.
        padding: Rows and columns of zeros: left, right, top, bottom.
        kernel: Height and width.
        stride: Down and across.
        first: Whether it reads observations.
    """

    weight: str
    bias: str
    padding: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    first: bool

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Inputs of shape (members, batch, height, width, channels) to such outputs."""
        padded = functional.pad(inputs, (0, 0, *self.padding)) if any(self.padding) else inputs
        weight, bias = parameters[self.weight], parameters.get(self.bias)
        apply = self._as_product if self.first else self._grouped
        return apply(padded, weight, bias)

    def _as_product(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (height, width), (down, across) = self.kernel, self.stride
        windows = images.unfold(2, height, down).unfold(3, width, across)
        members, batch, high, wide = windows.shape[:4]
        # Channels last here and there: then whole runs of an image are copied.
        matrix = windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(members, batch * high * wide, -1)
        rows = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)
        return _linear(rows, bias, matrix).view(members, batch, high, wide, -1)

    def _grouped(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        members, batch = images.shape[:2]
        side_by_side = images.permute(1, 0, 4, 2, 3).flatten(1, 2)
        found = functional.conv2d(
            side_by_side,
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            stride=self.stride,
            groups=members,
        )
        return found.view(batch, members, -1, *found.shape[2:]).permute(1, 0, 3, 4, 2)


@dataclasses.dataclass(frozen=True)
class Activation:
    """A layer that acts on each element by itself.

    Attributes:
        function: The activation function.
    """

    function: nn.Module

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Inputs of any shape."""
        # Not the module itself: calling one takes longer than a small batch's tanh.
        output: Tensor = self.function.forward(inputs)
        return output


@dataclasses.dataclass(frozen=True)
class Reshape:
    """Gives each observation of a batch a shape.

    Attributes:
        shape: The shape that the layer gives its inputs.
    """

    shape: tuple[int, ...]

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Inputs of shape (members, batch, …) to (members, batch, *shape)."""
        return inputs.reshape(*inputs.shape[:2], *self.shape)


def apply(layers: Layers, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """One layer after the other."""
    for layer in layers:
        inputs = layer(parameters, inputs)
    return inputs


def _linear(weight: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    if bias is None:
        return torch.bmm(inputs, weight)
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight)
