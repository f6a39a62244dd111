"""The graph of a network: which units feed which inputs, traced from the network's own computation.

The network runs on example inputs with the outputs of all understood layers replaced by known values.
When the values of some units change, the inputs that change too are the ones that those units reach,
whatever lies between: activations, flattening, concatenation, a second encoder, a skip connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.scope import lies_in
from rllib_ext.pruning.structure.layers import NORMS, Layer, understood_layers
from rllib_ext.pruning.structure.probe import (
    Changed,
    Run,
    Values,
    depends_on_values,
    flatten,
    perturbed_input,
    run,
)
from rllib_ext.pruning.structure.reach import NONE, Reached, anything_missed, reached_by
from rllib_ext.pruning.structure.runs import evaluating
from rllib_ext.pruning.structure.stand_ins import stand_ins

# Before the name of a network input, which may be called like a layer.
INPUT = "input:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """Example inputs, and how to run a network on them.

    Attributes:
        inputs: Draws inputs – a tensor, or mappings and sequences of them – for this very network,
            with its initial state where it has one. In a graph, an input is named by its path:
            "input:obs.camera".
        forward: Runs the network on such inputs; returns all outputs that matter, in the same form.
        observations: Number of observations in the inputs.
        unread: Names of submodules whose outputs are known to reach no output that matters.
    """

    inputs: Callable[[nn.Module, torch.Generator], Any]
    forward: Callable[[nn.Module, Any], Any]
    observations: int
    unread: tuple[str, ...] = ()


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
        unseen: For each layer, the units that were not seen to reach anything although something may
            read them, as behind a threshold that no value passed: bool of shape (width,).
    """

    layers: dict[str, Layer]
    reach: dict[str, dict[str, Tensor]]
    inputs: dict[str, dict[str, Tensor]]
    outputs: dict[str, frozenset[frozenset[str]]]
    opaque: dict[str, str]
    feeds: dict[str, frozenset[str]]
    state: dict[str, frozenset[str]]
    unseen: dict[str, Tensor]

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
        probe: Example inputs and how to run the network on them.
        seed: Fixes the example inputs and the known values.

    Returns:
        The graph.

    Raises:
        TraceError: The network doesn't run on example inputs, or two runs don't compute the same, so
            that one doesn't show what another will do.
    """
    layers = understood_layers(module)
    opaque = {
        name: type(child).__name__
        for name, child in module.named_modules()
        if name not in layers and _is_opaque(child)
    }
    generator = torch.Generator().manual_seed(seed)
    with evaluating(module), torch.no_grad():
        with _described("on example inputs"):
            inputs = probe.inputs(module, generator)
            stood_in = stand_ins(module, probe.forward, inputs, layers, generator)

        def record(values: Values, at: Any = inputs) -> Run:
            with _described("with other values in place of what its layers return"):
                return run(module, probe.forward, at, layers, opaque, values)

        def change(chosen: Mapping[str, Tensor], variant: str, at: Any = inputs) -> Changed:
            found = record(stood_in.values(chosen, variant), at)
            if found.calls != base.calls:
                raise depends_on_values()
            return base.changed(found)

        base = record(stood_in.values({}, "rest"))
        if {name: len(calls) for name, calls in base.layer_inputs.items()} != stood_in.calls():
            raise depends_on_values()
        for sign in (1.0, -1.0):
            if record(stood_in.of_one_sign(sign)).calls != base.calls:
                raise depends_on_values()
        _refuse_unrepeatable(change({}, "rest"))
        called = {name: layers[name] for name in base.layer_inputs}
        by_input = {
            INPUT + name: change({}, "rest", perturbed_input(inputs, name, generator))
            for name in flatten(inputs)
        }
        units = {name: reached_by(x, change, ("up", "down")) for name, x in called.items()}
        if anything_missed(units, by_input, probe.unread):
            units = {n: reached_by(x, change, ("up", "down", "far")) for n, x in called.items()}
        for name, found in units.items():
            if bool(found.unseen.any()) and not lies_in(name, probe.unread):
                marked = stood_in.marked(name)
                with torch.enable_grad():
                    found.suspect_(marked.inputs_in(record(marked)))
    unseen = {n: found.unseen & (not lies_in(n, probe.unread)) for n, found in units.items()}
    return _graph(called, opaque, units, by_input, unseen)


@contextlib.contextmanager
def _described(how: str) -> Iterator[None]:
    """Tells in one sentence what somebody's network raised."""
    try:
        yield
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(
            f"the network does not run {how} ({type(error).__name__}: {error})"
        ) from error


def _refuse_unrepeatable(changed: Changed) -> None:
    if changed.anything:
        raise TraceError(
            "two runs of the network on the same inputs differ: it draws from elsewhere than torch's "
            "global generators, or keeps something from one run for the next"
        )


def _graph(
    layers: dict[str, Layer],
    opaque: dict[str, str],
    units: Mapping[str, Reached],
    by_input: Mapping[str, Changed],
    unseen: dict[str, Tensor],
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
        unseen=unseen,
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
