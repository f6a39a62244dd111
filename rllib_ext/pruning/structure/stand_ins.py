"""Known values in place of what a network's layers return."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.probe import Forward, Run, Values, depends_on_values, flatten
from rllib_ext.pruning.structure.runs import copied, fixed_draws, leaves_behind

# Ranges of the magnitudes of units' values: what is drawn "up" wins every maximum over what stands at
# rest, what is drawn "down" every minimum; "far" passes thresholds that the others don't. In every other
# row of a batch they are positive and pass a relu, in the rest negative and pass that of their negative.
_RANGES = {"rest": (0.25, 0.75), "up": (1.0, 2.0), "down": (0.05, 0.2), "far": (8.0, 16.0)}


class StandIns:
    """Known values in the form of what each layer returned: at rest, and to change to."""

    def __init__(self, layers: Mapping[str, Layer], drawn: dict[str, list[dict[str, Any]]]) -> None:
        self._layers = layers
        self._drawn = drawn

    def _of(self, name: str, call: int) -> dict[str, Any]:
        calls = self._drawn.get(name, [])
        if call >= len(calls):
            raise depends_on_values()
        return calls[call]

    def calls(self) -> dict[str, int]:
        """Returns the number of calls of each layer in a run of the unchanged network."""
        return {name: len(calls) for name, calls in self._drawn.items()}

    def values(self, chosen: Mapping[str, Tensor], variant: str) -> Values:
        """Values at rest, but for the chosen units (bool of shape (width,) by layer)."""

        def value(name: str, call: int) -> Any:
            drawn = self._of(name, call)
            if name not in chosen:
                return copied(drawn["rest"])
            layer = self._layers[name]
            units = chosen[name].view(-1, *[1] * layer.kernel_dims)
            return _map2(
                drawn[variant], drawn["rest"], lambda a, b: torch.where(units.to(a.device), a, b)
            )

        return value

    def of_one_sign(self, sign: float) -> Values:
        """Values at rest that are all positive (sign 1) or all negative (-1)."""

        def value(name: str, call: int) -> Any:
            rest = self._of(name, call)["rest"]
            return _map2(rest, rest, lambda tensor, _: sign * tensor.abs())

        return value

    def marked(self, layer: str) -> Marked:
        """Values at rest, of which those of one layer can be followed."""
        return Marked(self.values({}, "rest"), layer)

    def constant(self, levels: Mapping[str, Tensor]) -> Values:
        """Values at rest, but for units that have a level (float of shape (width,), NaN: none)."""

        def value(name: str, call: int) -> Any:
            rest = self._of(name, call)["rest"]
            if name not in levels:
                return copied(rest)
            level = levels[name].view(-1, *[1] * self._layers[name].kernel_dims)
            return _map2(
                rest,
                rest,
                lambda a, _: torch.where(
                    level.isnan().to(a.device), a, level.to(a.device, a.dtype)
                ),
            )

        return value


class Marked:
    """Values of which those of one layer can be followed, in a run that records gradients.

    Args:
        values: The values.
        layer: The layer's name.
    """

    def __init__(self, values: Values, layer: str) -> None:
        self._values = values
        self._layer = layer
        self._marks: list[Tensor] = []

    def __call__(self, name: str, call: int) -> Any:
        """The values of one layer in one call, marked where the layer is the followed one."""
        drawn = self._values(name, call)
        return _map2(drawn, drawn, self._mark) if name == self._layer else drawn

    def _mark(self, tensor: Tensor, _: Tensor) -> Tensor:
        self._marks.append(tensor.requires_grad_())
        # What comes later may work in place.
        return tensor.clone()

    def inputs_in(self, seen: Run) -> set[str]:
        """The layers whose inputs are computed with the marked values, whatever their gradients are."""
        marks = {id(mark) for mark in self._marks}
        return {name for name, found in seen.layer_inputs.items() if leaves_behind(found) & marks}


def stand_ins(
    module: nn.Module,
    forward: Forward,
    inputs: Any,
    layers: Mapping[str, Layer],
    generator: torch.Generator,
) -> StandIns:
    """Runs a network once as it is and draws values in the form of what its layers return."""
    drawn: dict[str, list[dict[str, Any]]] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if not all(tensor.is_floating_point() for tensor in flatten(output).values()):
                raise TraceError(
                    f"{name} returns more than floating-point tensors, such as a PackedSequence"
                )
            drawn.setdefault(name, []).append(
                {variant: _draw(output, span, generator) for variant, span in _RANGES.items()}
            )

        return hook

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            handle = layer.module.register_forward_hook(keep(name))
            stack.callback(handle.remove)
        stack.enter_context(fixed_draws())
        forward(module, copied(inputs))
    return StandIns(layers, drawn)


def _draw(tree: Any, span: tuple[float, float], generator: torch.Generator) -> Any:
    low, high = span

    def draw(like: Tensor, _: Tensor) -> Tensor:
        uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype)
        drawn = low + (high - low) * uniform
        if drawn.dim() > 1:
            drawn[1::2].neg_()
        return drawn.to(like.device)

    return _map2(tree, tree, draw)


def _map2(a: Any, b: Any, function: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if isinstance(a, Tensor):
        return function(a, b)
    return tuple(_map2(x, y, function) for x, y in zip(a, b, strict=True))
