"""Which units reach which inputs: the coupling of a network, read off its own computation.

The network runs on example inputs with the outputs of all understood layers replaced by known values.
When the values of some units change, the inputs that change too are the ones that those units reach,
whatever lies between: activations, flattening, concatenation, a second encoder, a skip connection.
Units of a layer are told apart by the bits of their index, so that a layer of 256 units takes 16 runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.layers import NORMS, Layer, understood_layers
from rllib_ext.pruning.probe import (
    Changed,
    Run,
    depends_on_values,
    flatten,
    perturbed_input,
    run,
    stand_ins,
)
from rllib_ext.pruning.runs import evaluating

# In place of a unit's index: no unit of the layer reaches the column, or several do.
NONE, SEVERAL = -1, -2
# Before the name of a network input, which may be called like a layer.
INPUT = "input:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """How to run a network on example inputs.

    Attributes:
        inputs: Draws inputs – a tensor, or mappings and sequences of them – for this very network,
            with its initial state where it has one. In a graph, an input is named by its path:
            "input:obs.camera".
        forward: Runs the network on such inputs; returns all outputs that matter, in the same form.
        observations: How many observations the inputs hold.
    """

    inputs: Callable[[nn.Module, torch.Generator], Any]
    forward: Callable[[nn.Module, Any], Any]
    observations: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """The coupling of a network.

    Attributes:
        layers: The understood layers that the computation uses, by name, in its order.
        reach: For each layer and each layer before it, the unit that reaches each column: int64 of
            shape (columns,), `NONE` or `SEVERAL` where that is not one unit.
        inputs: For each layer, the network inputs that reach each column: bool of shape (columns,).
        outputs: For each output, the layers and network inputs that reach one of its elements directly:
            a set for each kind of element that there is.
        opaque: For each layer that is not understood, its class.
        feeds: For each layer that is not understood, the layers and inputs that reach it directly.
        state: For each recurrent layer, the layers that reach its initial state.
    """

    layers: dict[str, Layer]
    reach: dict[str, dict[str, Tensor]]
    inputs: dict[str, dict[str, Tensor]]
    outputs: dict[str, frozenset[frozenset[str]]]
    opaque: dict[str, str]
    feeds: dict[str, frozenset[str]]
    state: dict[str, frozenset[str]]

    def sources(self, layer: str) -> frozenset[str]:
        """The layers and network inputs that reach a layer directly."""
        return frozenset(
            [name for name, codes in self.reach[layer].items() if bool((codes != NONE).any())]
            + [name for name, columns in self.inputs[layer].items() if bool(columns.any())]
        )

    def output_elements(self) -> frozenset[frozenset[str]]:
        """The layers and network inputs that reach one element directly, for all kinds of elements."""
        return frozenset(sources for kinds in self.outputs.values() for sources in kinds)

    def input_names(self) -> frozenset[str]:
        """The network inputs that reach any layer or output directly."""
        into_layers = {
            name
            for columns in self.inputs.values()
            for name, reached in columns.items()
            if bool(reached.any())
        }
        into_outputs = {name for sources in self.output_elements() for name in sources}
        return frozenset(into_layers | into_outputs) - frozenset(self.layers)

    def connected(self, removed: frozenset[str]) -> bool:
        """Whether every output is still reached from an input without the removed layers and inputs."""
        reached = set(self.input_names() - removed)
        grown = True
        while grown:
            new = {
                layer
                for layer in self.layers
                if layer not in reached | removed and self.sources(layer) & reached
            }
            grown = bool(new)
            reached |= new
        return all(sources & reached for sources in self.output_elements() if sources)


def trace(module: nn.Module, probe: Probe, *, seed: int = 0) -> Graph:
    """Finds the coupling of a network.

    Args:
        module: The network; left as it is.
        probe: How to run it.
        seed: Of the example inputs and the known values.

    Returns:
        The graph.

    Raises:
        TraceError: The computation calls other layers when values change, so that one run doesn't
            show what another will do.
    """
    layers = understood_layers(module)
    opaque = {
        name: type(child).__name__
        for name, child in module.named_modules()
        if name not in layers and _is_opaque(child)
    }
    generator = torch.Generator().manual_seed(seed)
    with evaluating(module), torch.no_grad():
        inputs = probe.inputs(module, generator)
        spaces = stand_ins(module, probe.forward, inputs, layers, generator)

        def record(chosen: Mapping[str, Tensor], variant: str, at: Any = inputs) -> Run:
            found = run(module, probe.forward, at, layers, opaque, spaces.values(chosen, variant))
            if found.calls != base.calls:
                raise depends_on_values()
            return found

        base = run(module, probe.forward, inputs, layers, opaque, spaces.values({}, "up"))
        called = {name: layers[name] for name in base.layer_inputs}
        units = {name: _codes(layer, record, base) for name, layer in called.items()}
        by_input = {
            INPUT + name: base.changed(record({}, "up", perturbed_input(inputs, name, generator)))
            for name in flatten(inputs)
        }
    return _graph(called, opaque, units, by_input)


@dataclasses.dataclass(frozen=True)
class _Reached:
    """What the units of one layer reach: a unit index for each column, elements of other tensors."""

    columns: dict[str, Tensor]
    elements: dict[str, Tensor]


def _codes(layer: Layer, record: Callable[[Mapping[str, Tensor], str], Run], base: Run) -> _Reached:
    """Runs the network once for each bit of the unit index, set and unset, upwards and downwards."""
    index = torch.arange(layer.width)
    ones: dict[str, Tensor] = {}
    zeros: dict[str, Tensor] = {}
    elements: dict[str, Tensor] = {}
    for bit in range(max(1, (layer.width - 1).bit_length())):
        is_set = (index >> bit & 1).bool()
        for chosen, codes in ((is_set, ones), (~is_set, zeros)):
            if not bool(chosen.any()):
                continue
            for variant in ("up", "down"):
                changed = base.changed(record({layer.name: chosen}, variant))
                for name, flags in changed.elements.items():
                    elements[name] = elements.get(name, flags) | flags
                for sink, columns in changed.columns.items():
                    codes.setdefault(sink, torch.zeros(len(columns), dtype=torch.int64))
                    codes[sink] |= columns.to(torch.int64) << bit
    full = (1 << max(1, (layer.width - 1).bit_length())) - 1
    reached: dict[str, Tensor] = {}
    for sink in zeros:
        one, zero = ones.get(sink, torch.zeros_like(zeros[sink])), zeros[sink]
        unit = torch.where((one ^ zero) == full, one, torch.full_like(one, SEVERAL))
        reached[sink] = torch.where((one | zero) == 0, torch.full_like(one, NONE), unit)
    return _Reached(reached, elements)


def _graph(
    layers: dict[str, Layer],
    opaque: dict[str, str],
    units: Mapping[str, _Reached],
    by_input: Mapping[str, Changed],
) -> Graph:
    elements: dict[str, dict[str, Tensor]] = {}
    reached = {name: found.elements for name, found in units.items()}
    reached |= {name: changed.elements for name, changed in by_input.items()}
    for source, flags_by_sink in reached.items():
        for sink, flags in flags_by_sink.items():
            elements.setdefault(sink, {})[source] = flags

    def sinks(kind: str) -> dict[str, frozenset[str]]:
        return {
            sink.removeprefix(kind): frozenset(s for s, flags in by.items() if bool(flags.any()))
            for sink, by in elements.items()
            if sink.startswith(kind)
        }

    return Graph(
        layers=layers,
        reach={
            sink: {source: found.columns[sink] for source, found in units.items()}
            for sink in layers
        },
        inputs={
            sink: {source: changed.columns[sink] for source, changed in by_input.items()}
            for sink in layers
        },
        outputs={
            sink.removeprefix("output:"): _distinct(by)
            for sink, by in elements.items()
            if sink.startswith("output:")
        },
        opaque=opaque,
        feeds=sinks("opaque:"),
        state=sinks("state:"),
    )


def _distinct(reached: Mapping[str, Tensor]) -> frozenset[frozenset[str]]:
    """The sets of sources that reach one element each, from flags by source."""
    names = list(reached)
    kinds = torch.unique(torch.stack([reached[name] for name in names]), dim=1)
    return frozenset(
        frozenset(name for name, flag in zip(names, kind, strict=True) if flag)
        for kind in kinds.T.tolist()
    )


def _is_opaque(module: nn.Module) -> bool:
    if isinstance(module, NORMS):
        return True
    has_children = next(module.children(), None) is not None
    return not has_children and next(module.parameters(recurse=False), None) is not None
