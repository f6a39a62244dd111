"""Running a network with the outputs of its understood layers replaced by known values."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.layers import Layer

Forward = Callable[[nn.Module, Any], Any]
# What a layer returns at one of its calls, given the structure of what it would have returned.
Values = Callable[[str, int], Any]

# Ranges of the values of units: what is drawn "up" wins every maximum over what stands at rest, what is
# drawn "down" every minimum; all are positive, so that they pass a relu.
_RANGES = {"rest": (0.25, 0.75), "up": (1.0, 2.0), "down": (0.05, 0.2)}


@dataclasses.dataclass(frozen=True)
class Changed:
    """What differs between two runs.

    Attributes:
        columns: For each layer, whether any element of the column differs: bool of shape (columns,).
        elements: For each other tensor, whether each element differs: bool, flat.
    """

    columns: dict[str, Tensor]
    elements: dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Run:
    """What was seen in one run.

    Attributes:
        layer_inputs: For each layer, its inputs call by call, columns first, the rest flattened.
        others: Tensors by name: "output:…", "opaque:…" (inputs of a layer that is not understood),
            "state:…" (the initial state of a recurrent layer).
    """

    layer_inputs: dict[str, list[Tensor]]
    others: dict[str, list[Tensor]]

    @property
    def calls(self) -> dict[str, list[torch.Size]]:
        """Shapes of all that was seen, by name."""
        return {
            name: [tensor.shape for tensor in tensors]
            for name, tensors in (*self.layer_inputs.items(), *self.others.items())
        }

    def changed(self, other: Run) -> Changed:
        """What differs from another run with the same calls."""
        return Changed(
            {
                name: torch.stack(
                    [(a != b).any(1) for a, b in zip(seen, other.layer_inputs[name], strict=True)]
                )
                .any(0)
                .cpu()
                for name, seen in self.layer_inputs.items()
            },
            {
                name: torch.cat(
                    [(a != b).flatten() for a, b in zip(seen, other.others[name], strict=True)]
                ).cpu()
                for name, seen in self.others.items()
            },
        )


def depends_on_values() -> TraceError:
    """The error of a computation that one run doesn't show."""
    return TraceError("the network's computation calls other layers when values change")


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

    def values(self, chosen: Mapping[str, Tensor], variant: str) -> Values:
        """Values at rest, but for the chosen units (bool of shape (width,) by layer)."""

        def value(name: str, call: int) -> Any:
            drawn = self._of(name, call)
            if name not in chosen:
                return _copied(drawn["rest"])
            layer = self._layers[name]
            units = chosen[name].view(-1, *[1] * layer.kernel_dims)
            return _map2(
                drawn[variant], drawn["rest"], lambda a, b: torch.where(units.to(a.device), a, b)
            )

        return value

    def constant(self, levels: Mapping[str, Tensor]) -> Values:
        """Values at rest, but for units that have a level (float of shape (width,), NaN: none)."""

        def value(name: str, call: int) -> Any:
            rest = self._of(name, call)["rest"]
            if name not in levels:
                return _copied(rest)
            level = levels[name].view(-1, *[1] * self._layers[name].kernel_dims)
            return _map2(
                rest,
                rest,
                lambda a, _: torch.where(
                    level.isnan().to(a.device), a, level.to(a.device, a.dtype)
                ),
            )

        return value


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
        forward(module, inputs)
    return StandIns(layers, drawn)


def run(
    module: nn.Module,
    forward: Forward,
    inputs: Any,
    layers: Mapping[str, Layer],
    opaque: Iterable[str],
    values: Values,
) -> Run:
    """Runs a network with known values in place of what its understood layers return."""
    found = Run({}, {})
    with contextlib.ExitStack() as stack:
        for layer in layers.values():
            stack.enter_context(_replaced(layer, values, found))
        for name in opaque:
            child = module.get_submodule(name)

            def look(_: nn.Module, args: Any, kwargs: Any, key: str = f"opaque:{name}") -> None:
                seen = flatten([args, kwargs]).values()
                found.others.setdefault(key, []).extend(tensor.clone() for tensor in seen)

            stack.callback(child.register_forward_pre_hook(look, with_kwargs=True).remove)
        for name, tensor in flatten(forward(module, inputs)).items():
            found.others.setdefault(f"output:{name}", []).append(tensor)
    return found


@contextlib.contextmanager
def _replaced(layer: Layer, values: Values, found: Run) -> Iterator[None]:
    calls = 0

    # The names under which torch's layers take their inputs.
    def stand_in(input: Tensor, hx: Any = None) -> Any:
        nonlocal calls
        columns = input.movedim(layer.axis, 0).reshape(layer.columns, -1)
        # Copies: what comes later may work in place.
        found.layer_inputs.setdefault(layer.name, []).append(columns.clone())
        if hx is not None:
            key = f"state:{layer.name}"
            found.others.setdefault(key, []).extend(flatten(_copied(hx)).values())
        calls += 1
        return values(layer.name, calls - 1)

    # An attribute of the instance goes before the method of its class, and leaves no trace.
    layer.module.__dict__["forward"] = stand_in
    try:
        yield
    finally:
        del layer.module.__dict__["forward"]


def flatten(tree: Any, path: str = "") -> dict[str, Tensor]:
    """The tensors in nested mappings and sequences, by their path."""
    if isinstance(tree, Tensor):
        return {path: tree}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        items = enumerate(tree)
    tensors: dict[str, Tensor] = {}
    for key, value in items:
        tensors |= flatten(value, f"{path}.{key}" if path else str(key))
    return tensors


def perturbed_input(tree: Any, name: str, generator: torch.Generator, path: str = "") -> Any:
    """A copy of nested tensors in which the one at a path has other values throughout."""
    if isinstance(tree, Tensor):
        return _perturbed(tree, generator) if path == name else tree
    if isinstance(tree, Mapping):
        return {
            key: perturbed_input(value, name, generator, f"{path}.{key}" if path else str(key))
            for key, value in tree.items()
        }
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        values = [
            perturbed_input(value, name, generator, f"{path}.{i}" if path else str(i))
            for i, value in enumerate(tree)
        ]
        return tuple(values) if isinstance(tree, tuple) else values
    return tree


def _perturbed(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if tensor.is_floating_point():
        noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5
        return tensor + noise.to(tensor.device)
    return (tensor == 0).to(tensor.dtype)


def _draw(tree: Any, span: tuple[float, float], generator: torch.Generator) -> Any:
    low, high = span

    def draw(like: Tensor, _: Tensor) -> Tensor:
        uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype)
        return (low + (high - low) * uniform).to(like.device)

    return _map2(tree, tree, draw)


def _copied(tree: Any) -> Any:
    return _map2(tree, tree, lambda tensor, _: tensor.clone())


def _map2(a: Any, b: Any, function: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if isinstance(a, Tensor):
        return function(a, b)
    return tuple(_map2(x, y, function) for x, y in zip(a, b, strict=True))
