"""Finds units that can only be removed together, and units that can't be removed at all."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.reach import NONE, SEVERAL

# In place of a group's index: the unit or the column belongs to none.
NO_GROUP = -1


@dataclasses.dataclass(frozen=True)
class Coupling:
    """Units that can only go together: those whose values are added up before anything reads them.

    Attributes:
        units: For each layer, the group of each unit: int64 of shape (width,), `NO_GROUP` for units
            that cannot go.
        columns: For each layer, the group of each column: int64 of shape (columns,).
        count: Number of groups; most hold one unit.
        outputs: Layers whose units are outputs of the network.
        kept: For each other layer with units that cannot go, why.
    """

    units: dict[str, Tensor]
    columns: dict[str, Tensor]
    count: int
    outputs: frozenset[str]
    kept: dict[str, str]


def coupled_units(graph: Graph) -> Coupling:
    """Finds the groups of units of a network; numbered layer by layer, unit by unit."""
    first: dict[str, int] = {}
    total = 0
    for name, layer in graph.layers.items():
        first[name] = total
        total += layer.width
    root = list(range(total))
    fixed, kept, outputs = _fixed_units(graph, first, total)

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    readers: dict[str, Tensor] = {}
    for sink, layer in graph.layers.items():
        # Per column, the first node that reaches it; others that reach it too are joined to it.
        reader = torch.full((layer.columns,), NO_GROUP)
        for source, codes in graph.reach[sink].items():
            nodes = torch.where(codes >= 0, codes + first[source], NO_GROUP)
            for column in torch.nonzero((nodes >= 0) & (reader >= 0)).flatten().tolist():
                a, b = sorted((find(int(reader[column])), find(int(nodes[column]))))
                root[b] = a
            reader = torch.where(reader >= 0, reader, nodes)
        readers[sink] = reader
    roots = torch.tensor([find(node) for node in range(total)], dtype=torch.int64)
    fixed_roots = torch.zeros(total, dtype=torch.bool)
    fixed_roots[roots[fixed]] = True
    free = ~fixed_roots[roots]
    distinct = torch.unique(roots[free])
    number = torch.full((total,), NO_GROUP)
    number[distinct] = torch.arange(len(distinct))
    group = torch.where(free, number[roots], NO_GROUP)
    units = {name: group[start : start + graph.layers[name].width] for name, start in first.items()}
    for name, groups in units.items():
        if name not in outputs and name not in kept and bool((groups == NO_GROUP).any()):
            kept[name] = "its outputs are added to units that cannot go"
    columns = {
        sink: torch.where(reader >= 0, group[reader.clamp_min(0)], NO_GROUP)
        for sink, reader in readers.items()
    }
    return Coupling(units, columns, len(distinct), outputs, kept)


def _fixed_units(
    graph: Graph, first: dict[str, int], total: int
) -> tuple[Tensor, dict[str, str], frozenset[str]]:
    """Units that cannot go: bool of shape (total,); reasons by layer; layers that are outputs."""
    fixed = torch.zeros(total, dtype=torch.bool)
    kept: dict[str, str] = {}

    def fix(source: str, units: Tensor | slice, reason: str) -> None:
        if source in graph.layers:
            start = first[source]
            fixed[start : start + graph.layers[source].width][units] = True
            kept.setdefault(source, reason)

    everything = slice(None)
    for name, sources in graph.feeds.items():
        for source in sources:
            fix(source, everything, f"it feeds {name} ({graph.opaque[name]})")
    for name, sources in graph.state.items():
        for source in sources - {name}:
            fix(source, everything, f"it sets the initial state of {name}")
    for name, unseen in graph.unseen.items():
        if bool(unseen.any()):
            fix(name, unseen, "nothing was seen to read it")
    for sink, by_source in graph.reach.items():
        mixed = torch.zeros(graph.layers[sink].columns, dtype=torch.bool)
        for codes in by_source.values():
            mixed |= codes == SEVERAL
        from_input = torch.zeros(graph.layers[sink].columns, dtype=torch.bool)
        for columns in graph.inputs[sink].values():
            from_input |= columns
        for source, codes in by_source.items():
            if bool((codes == SEVERAL).any()):
                fix(source, everything, f"its outputs are mixed before they reach {sink}")
                continue
            for columns, what in (
                (mixed, "mixed outputs of others"),
                (from_input, "network inputs"),
            ):
                added = codes[columns & (codes != NONE)]
                if len(added):
                    fix(source, added, f"its outputs are added to {what} before {sink}")
    outputs = frozenset(
        name for sources in graph.output_elements() for name in sources if name in graph.layers
    )
    for name in outputs:
        fix(name, everything, "output")
        kept.pop(name)
    return fixed, kept, outputs
