"""Running a network with the outputs of its understood layers replaced by known values."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.runs import copied, fixed_draws

Forward = Callable[[nn.Module, Any], Any]
# What a layer returns at one of its calls, given the structure of what it would have returned.
Values = Callable[[str, int], Any]


@dataclasses.dataclass(frozen=True)
class Changed:
    """The differences between two runs.

    Attributes:
        columns: For each layer, whether any element of the column differs: bool of shape (columns,).
        elements: For each other tensor, whether each element differs: bool, flat.
    """

    columns: dict[str, Tensor]
    elements: dict[str, Tensor]

    @property
    def anything(self) -> bool:
        """Whether anything differs."""
        return any(bool(flags.any()) for flags in (*self.columns.values(), *self.elements.values()))


@dataclasses.dataclass(frozen=True)
class Run:
    """The values recorded in one run.

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
        """Returns the differences from another run with the same calls."""
        return Changed(
            {
                name: torch.stack(
                    [
                        _differs(a, b).any(1)
                        for a, b in zip(seen, other.layer_inputs[name], strict=True)
                    ]
                )
                .any(0)
                .cpu()
                for name, seen in self.layer_inputs.items()
            },
            {
                name: torch.cat(
                    [
                        _differs(a, b).flatten()
                        for a, b in zip(seen, other.others[name], strict=True)
                    ]
                ).cpu()
                for name, seen in self.others.items()
            },
        )


def depends_on_values() -> TraceError:
    """The error of a computation that one run doesn't show."""
    return TraceError("the network's computation calls other layers when values change")


def _differs(one: Tensor, other: Tensor) -> Tensor:
    # Not a number in both is no difference.
    return (one != other) & ~((one != one) & (other != other))


def run(
    module: nn.Module,
    forward: Forward,
    inputs: Any,
    layers: Mapping[str, Layer],
    opaque: Iterable[str],
    values: Values,
) -> Run:
    """Runs a network with known values in place of what its understood layers return.

    What it draws from torch's global generators is the same in every run.
    """
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
        stack.enter_context(fixed_draws())
        for name, tensor in flatten(forward(module, copied(inputs))).items():
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
            found.others.setdefault(key, []).extend(flatten(copied(hx)).values())
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
