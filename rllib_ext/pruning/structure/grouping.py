"""Finding the groups of a network, from its coupling.

A group of granularity "neuron" is a hidden unit, a convolution channel or a recurrent unit with its
incoming rows (of all gates), its biases, its recurrent column and its columns in every layer that
reads it. A group of "layer" is a layer with a path around it, and what only feeds that layer. A group
of "branch" is what only one network input feeds, such as one encoder of a dict observation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.config import Granularity
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.coupling import NO_GROUP, coupled_units
from rllib_ext.pruning.structure.graph import INPUT, Graph
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.reach import NONE

logger = logging.getLogger(__name__)


def build_structure(graph: Graph, granularity: Granularity, weights: Iterable[str]) -> Structure:
    """Finds the groups of a network.

    Args:
        graph: The coupling of the module's units, as `trace` finds it.
        granularity: "neuron", "layer" or "branch".
        weights: Names of the prunable matrices; a group that contains any other stays whole.

    Returns:
        The groups, at least one. Layers that no group contains are named in one warning.

    Raises:
        ConfigError: Nothing can be removed at this granularity; the message says what would help.
    """
    build = {"neuron": _units, "layer": _layers, "branch": _branches}[granularity]
    structure = build(graph, frozenset(weights))
    alone = {name: f"{kind} is not understood" for name, kind in graph.opaque.items()}
    alone |= structure.left_alone
    if alone:
        listed = "; ".join(f"{name}: {reason}" for name, reason in alone.items())
        logger.warning("pruning leaves these layers alone: %s", listed)
    return structure


class _Draft:
    """Groups while they are being found: layer by layer, before they are numbered for good."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.units = {n: torch.full((x.width,), NO_GROUP) for n, x in graph.layers.items()}
        self.columns = {n: torch.full((x.columns,), NO_GROUP) for n, x in graph.layers.items()}
        self.names: list[str] = []
        self.takes: list[dict[str, int]] = []

    def finish(
        self, weights: frozenset[str], *, whole: bool, left_alone: dict[str, str]
    ) -> Structure:
        usable = torch.ones(len(self.names) + 1, dtype=torch.bool)
        for name, layer in self.graph.layers.items():
            if not set(layer.matrices) <= weights:
                usable[self.units[name]] = False
            if layer.incoming not in weights:
                usable[self.columns[name]] = False
        present = torch.zeros_like(usable)
        for groups in (*self.units.values(), *self.columns.values()):
            present[groups] = True
        usable &= present
        usable[NO_GROUP] = False
        number = torch.full((len(usable),), NO_GROUP)
        number[usable] = torch.arange(int(usable.sum()))
        rows: dict[str, Tensor] = {}
        columns: dict[str, Tensor] = {}
        biases: dict[str, Tensor] = {}
        homes: dict[int, str] = {}
        for name, layer in self.graph.layers.items():
            units = number[self.units[name]]
            by_row = units[layer.unit_of_row()]
            for matrix in (name for name in layer.matrices if name in weights):
                rows[matrix] = by_row
                columns[matrix] = units if matrix == layer.recurrent else number[self.columns[name]]
            biases |= dict.fromkeys(layer.biases, by_row)
            for group in [*units.tolist(), *number[self.columns[name]].tolist()]:
                homes.setdefault(group, layer.incoming)
        kept = [i for i in range(len(self.names)) if usable[i]]
        return Structure(
            rows=rows,
            columns=columns,
            biases=biases,
            names=tuple(self.names[i] for i in kept),
            homes=tuple(homes[i] for i in range(len(kept))),
            takes=tuple(self.takes[i] for i in kept),
            widths={name: layer.width for name, layer in self.graph.layers.items()},
            graph=self.graph,
            whole=whole,
            left_alone=left_alone,
        )


def _units(graph: Graph, weights: frozenset[str]) -> Structure:
    coupling = coupled_units(graph)
    draft = _Draft(graph)
    draft.units, draft.columns = coupling.units, coupling.columns
    members: list[list[tuple[str, int]]] = [[] for _ in range(coupling.count)]
    for name, groups in coupling.units.items():
        for unit, group in enumerate(groups.tolist()):
            if group != NO_GROUP:
                members[group].append((name, unit))
    for units in members:
        draft.names.append(" + ".join(f"{name}[{unit}]" for name, unit in units))
        counts: dict[str, int] = {}
        for name, _ in units:
            counts[name] = counts.get(name, 0) + 1
        draft.takes.append(counts)
    structure = draft.finish(weights, whole=False, left_alone=coupling.kept)
    if not len(structure):
        reasons = "".join(f" {name}: {reason}." for name, reason in coupling.kept.items())
        raise ConfigError(
            "granularity='neuron' finds no hidden unit that can be removed."
            + reasons
            + " Give the "
            "network a hidden layer that isn't excluded, or use granularity='weight'."
        )
    return structure


def _layers(graph: Graph, weights: frozenset[str]) -> Structure:
    around = [name for name in graph.layers if _has_path_around(graph, name)]
    draft = _Draft(graph)
    for name in around:
        gone = _with_what_only_feeds(graph, name, set(around))
        _take(draft, name, gone, frozenset())
    structure = draft.finish(weights, whole=True, left_alone={})
    if not len(structure):
        raise ConfigError(
            "granularity='layer' finds no layer with a path around it: without "
            f"{', '.join(graph.layers)} nothing would pass from the observation to the action. Use "
            "granularity='neuron', or a network with skip connections."
        )
    return structure


def _branches(graph: Graph, weights: frozenset[str]) -> Structure:
    draft = _Draft(graph)
    ancestors = {name: _ancestors(graph, name) for name in graph.layers}
    inputs = sorted(graph.input_names())
    for name in inputs:
        exclusive = {
            layer for layer in graph.layers if ancestors[layer] - set(graph.layers) == {name}
        }
        if graph.connected(frozenset({*exclusive, name})):
            _take(draft, name.removeprefix(INPUT), exclusive, frozenset({name}))
    structure = draft.finish(weights, whole=True, left_alone={})
    if not len(structure):
        raise ConfigError(
            f"granularity='branch' finds no branch to remove: the network reads "
            f"{', '.join(name.removeprefix(INPUT) or 'one tensor' for name in inputs) or 'nothing'}, "
            "and every output needs it. Use granularity='neuron', or a dict observation with an "
            "encoder for each of its keys."
        )
    return structure


def _take(draft: _Draft, name: str, layers: set[str], inputs: frozenset[str]) -> None:
    """Adds a group of whole layers, and the columns that nothing else reaches."""
    group = len(draft.names)
    draft.names.append(name)
    widths = {layer: draft.graph.layers[layer].width for layer in sorted(layers)}
    draft.takes.append({**widths, **dict.fromkeys(inputs, 1)})
    for layer in layers:
        draft.units[layer][:] = group
    for sink in set(draft.graph.layers) - layers:
        ours = torch.zeros_like(draft.columns[sink], dtype=torch.bool)
        others = torch.zeros_like(ours)
        for source, codes in draft.graph.reach[sink].items():
            (ours if source in layers else others).logical_or_(codes != NONE)
        for source, columns in draft.graph.inputs[sink].items():
            (ours if source in inputs else others).logical_or_(columns)
        draft.columns[sink][ours & ~others] = group


def _ancestors(graph: Graph, layer: str) -> set[str]:
    return _closure(graph.sources(layer), lambda name: graph.sources(name), graph.layers)


def _closure(
    start: Iterable[str], step: Callable[[str], Iterable[str]], layers: Mapping[str, Layer]
) -> set[str]:
    found: set[str] = set()
    open_ = list(start)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_.extend(step(name) if name in layers else ())
    return found


def _sinks(graph: Graph, layer: str) -> list[frozenset[str]]:
    """For each layer and output element that a layer reaches directly, all that reaches it directly."""
    into = [graph.sources(sink) for sink in graph.layers if sink != layer]
    return [s for s in [*into, *graph.output_elements(), *graph.feeds.values()] if layer in s]


def _has_path_around(graph: Graph, layer: str) -> bool:
    """Whether all that reads a layer is reached without it by something that the layer reads itself."""
    reached = _ancestors(graph, layer) - {layer}
    grown = True
    while grown:
        new = {n for n in graph.layers if n not in {*reached, layer} and graph.sources(n) & reached}
        grown = bool(new)
        reached |= new
    sinks = _sinks(graph, layer)
    return bool(sinks) and all(sources & reached for sources in sinks)


def _with_what_only_feeds(graph: Graph, layer: str, apart: set[str]) -> set[str]:
    gone = {layer}
    readers = {
        name: {sink for sink in graph.layers if name in graph.sources(sink)}
        for name in graph.layers
        if name not in apart
        and not any(name in s for s in (*graph.output_elements(), *graph.feeds.values()))
    }
    while True:
        more = {n for n, sinks in readers.items() if sinks and sinks <= gone and n not in gone}
        if not more:
            return gone
        gone |= more
