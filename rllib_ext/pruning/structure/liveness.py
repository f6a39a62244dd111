"""Finds live weights: kept weights on a path of kept weights from an input to an output.

Vysogorets & Kempe 2023 ("Connectivity matters: neural network pruning through the lens of effective
sparsity") count what is left of a network in such weights. A weight that reads a constant, or whose unit
nothing reads, is kept and does nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.pruning.masks import Masks
from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.reach import NONE, SEVERAL

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class _Feed:
    """The connection from one layer's units to another layer's columns.

    Attributes:
        source: The layer that reaches.
        columns: Columns that one unit reaches each.
        units: Index of the unit that feeds each of those columns.
        mixed: Columns that several units reach: bool of shape (columns,).
        mixes: Whether there are such columns.
    """

    source: str
    columns: Array
    units: Array
    mixed: Array
    mixes: bool


@dataclasses.dataclass(frozen=True)
class Flow:
    """The varying and the used parts of a network with masked weights.

    Attributes:
        columns: For each layer, the columns that vary with an input, or whose constant value could not
            be had from a bias instead: bool of shape (columns,).
        varies: For each layer, the units that vary: bool of shape (width,).
        used: For each layer, the units that an output depends on: bool of shape (width,).
    """

    columns: dict[str, Array]
    varies: dict[str, Array]
    used: dict[str, Array]


class Liveness:
    """Tells live weights of a network from dead ones.

    A recurrent unit counts as varying whatever it reads: from a zero state its value changes with time.
    So does a constant that a layer without bias reads, or a convolution that pads: no bias can stand for
    it. Layers that the masks don't name keep all their weights.

    Args:
        graph: The coupling of the network's units.
    """

    def __init__(self, graph: Graph) -> None:
        self._layers = graph.layers
        self._ends = ends_of(graph)
        self._feeds = {name: _feeds(graph, name) for name in graph.layers}
        self._given = {name: _given(graph, name) for name in graph.layers}
        self._rows = {name: x.unit_of_row().numpy() for name, x in graph.layers.items()}
        self._whole = {
            name: np.ones(layer.parameter(name).shape[:2], dtype=np.float32)
            for layer in graph.layers.values()
            for name in layer.matrices
        }
        order = list(graph.layers)
        # Where each layer reads earlier ones only, one round finds all.
        self._in_order = all(
            order.index(feed.source) < order.index(sink)
            for sink, feeds in self._feeds.items()
            for feed in feeds
        )

    def flow(self, masks: Mapping[str, Tensor]) -> Flow:
        """Returns which units and columns vary with the input, and which are used by an output.

        Args:
            masks: Masks by parameter name, True = keep.
        """
        planes = self._planes(masks)
        varies, columns = self._varying(planes)
        return Flow(columns, varies, self._used(planes))

    def _varying(self, planes: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        varies = {
            name: np.full(layer.width, bool(layer.recurrent))
            for name, layer in self._layers.items()
        }
        columns: dict[str, Array] = {}
        while True:
            before = sum(int(units.sum()) for units in varies.values())
            for name, layer in self._layers.items():
                seen = self._given[name].copy()
                for feed in self._feeds[name]:
                    seen[feed.columns] |= varies[feed.source][feed.units]
                    if feed.mixes and varies[feed.source].any():
                        seen |= feed.mixed
                columns[name] = seen
                if not layer.recurrent:
                    varies[name] = planes[layer.incoming] @ seen > 0
            if self._in_order or sum(int(units.sum()) for units in varies.values()) == before:
                return varies, columns

    def _used(self, planes: Mapping[str, Array]) -> dict[str, Array]:
        used = {name: ends.copy() for name, ends in self._ends.items()}
        while True:
            before = sum(int(units.sum()) for units in used.values())
            for name, layer in reversed(self._layers.items()):
                if layer.recurrent:
                    self._propagate_back_(used[name], name, planes[layer.recurrent])
                read = used[name][self._rows[name]] @ planes[layer.incoming] > 0
                for feed in self._feeds[name]:
                    used[feed.source][feed.units[read[feed.columns]]] = True
                    if feed.mixes and bool((read & feed.mixed).any()):
                        used[feed.source][:] = True
            if self._in_order or sum(int(units.sum()) for units in used.values()) == before:
                return used

    def _propagate_back_(self, used: Array, name: str, plane: Array) -> None:
        """Adds the units of a recurrent layer that its own used units read, in place."""
        before = -1
        while (now := int(used.sum())) != before:
            before = now
            used |= used[self._rows[name]] @ plane > 0

    def places(self, masks: Mapping[str, Tensor]) -> Masks:
        """Returns where a weight would be live, kept or not: booleans of the masks' shapes.

        Masks of layers that were not understood are True throughout: nothing is known of them.
        """
        flow = self.flow(masks)
        found = {name: torch.ones_like(mask) for name, mask in masks.items()}
        for name, layer in self._layers.items():
            for matrix in layer.matrices:
                if matrix in masks:
                    plane = torch.from_numpy(self._place(flow, name, matrix))
                    mask = masks[matrix]
                    shaped = plane.view(*plane.shape, *[1] * (mask.dim() - 2)).to(mask.device)
                    found[matrix] = shaped.expand_as(mask).clone()
        return found

    def live(self, masks: Mapping[str, Tensor]) -> Masks:
        """Masks without the weights that do nothing."""
        return {name: masks[name] & place for name, place in self.places(masks).items()}

    def count(self, masks: Mapping[str, Tensor], among: Iterable[str]) -> int:
        """Returns the number of live weights in some matrices.

        Args:
            masks: Masks by parameter name.
            among: Names of the matrices.
        """
        planes = self._planes(masks)
        varies, columns = self._varying(planes)
        flow = Flow(columns, varies, self._used(planes))
        wanted = set(among)
        total = 0
        for name, layer in self._layers.items():
            for matrix in layer.matrices:
                if matrix in wanted:
                    wanted.remove(matrix)
                    total += int((planes[matrix] * self._place(flow, name, matrix)).sum())
        return total + sum(int(masks[name].sum()) for name in wanted)

    def _place(self, flow: Flow, name: str, matrix: str) -> Array:
        rows = flow.used[name][self._rows[name]]
        recurrent = matrix == self._layers[name].recurrent
        read = flow.varies[name] if recurrent else flow.columns[name]
        place: Array = rows[:, None] & read[None, :]
        return place

    def _planes(self, masks: Mapping[str, Tensor]) -> dict[str, Array]:
        """Returns the number of kept weights of each matrix at each (row, column)."""
        return {
            name: whole if name not in masks else _plane(masks[name])
            for name, whole in self._whole.items()
        }


def _plane(mask: Tensor) -> Array:
    found: Array = mask.cpu().numpy()
    # As numbers with a fast product, which says how many weights read what varies.
    counts: Array = found.reshape(*found.shape[:2], -1).sum(2, dtype=np.float32)
    return counts


def _feeds(graph: Graph, sink: str) -> list[_Feed]:
    found = []
    for source, codes in graph.reach[sink].items():
        if bool((codes != NONE).any()):
            columns = torch.nonzero(codes >= 0).flatten()
            mixed = (codes == SEVERAL).numpy()
            units = codes[columns].numpy()
            found.append(_Feed(source, columns.numpy(), units, mixed, bool(mixed.any())))
    return found


def ends_of(graph: Graph) -> dict[str, Array]:
    """Units that count as used whoever reads them: bool of shape (width,) for each layer."""
    ends = {name: graph.unseen[name].numpy().copy() for name in graph.layers}
    for sources in (*graph.output_elements(), *graph.state.values()):
        for name in sources & graph.layers.keys():
            ends[name][:] = True
    return ends


def _given(graph: Graph, sink: str) -> Array:
    """Columns that vary, or have to count as if they did, whatever other layers do."""
    layer = graph.layers[sink]
    if not folds_constants(layer):
        return np.ones(layer.columns, dtype=np.bool_)
    given = torch.zeros(layer.columns, dtype=torch.bool)
    reached = torch.zeros_like(given)
    for columns in graph.inputs[sink].values():
        given |= columns
    for codes in graph.reach[sink].values():
        reached |= codes != NONE
    # What nothing was seen to reach isn't understood.
    found: Array = (given | ~reached).numpy()
    return found


def folds_constants(layer: Layer) -> bool:
    """Whether a bias of the layer can stand for a constant that it reads."""
    return bool(layer.biases) and not pads_with_zeros(layer.module)


def pads_with_zeros(module: nn.Module) -> bool:
    """Whether a layer is a convolution that sees zeros at its border."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.padding_mode != "zeros":
        return False
    return any(size > 0 for size in module._reversed_padding_repeated_twice)
