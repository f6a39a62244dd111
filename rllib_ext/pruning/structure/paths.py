"""Sums over all paths of a network: how much of what flows from inputs to outputs passes each weight.

Tanaka et al. 2020 (arXiv 2006.05467, "Pruning neural networks without any data by iteratively conserving
synaptic flow", eq. 2): R = 1ᵀ ∏|W| 1 is the sum, over all paths from an input to an output, of the
product of the absolute weights on the path. No data is needed, and activations don't count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.layers import Layer, plane_of
from rllib_ext.pruning.structure.liveness import ends_of
from rllib_ext.pruning.structure.reach import NONE, SEVERAL


class Paths:
    """Follows the paths of a network from its inputs to all of its outputs.

    Biases begin no path. A convolution counts as if it saw its whole kernel at every place. Paths pass a
    layer's recurrent matrix at most once, as over two steps of a sequence.

    Args:
        module: The network.
        graph: The coupling of its units; of another network of the same form, if need be.
        names: The matrices whose weights paths are summed for.

    Raises:
        TraceError: A path can't be followed.
    """

    def __init__(self, module: nn.Module, graph: Graph, names: Collection[str]) -> None:
        _refuse_untraceable(graph, names)
        self._layers = graph.layers
        self._names = frozenset(names)
        self._parameters = dict(module.named_parameters())
        self._rows = {name: layer.unit_of_row() for name, layer in graph.layers.items()}
        self._ends = {
            name: torch.from_numpy(ends).double() for name, ends in ends_of(graph).items()
        }
        self._begins = {name: _begins(graph, name) for name in graph.layers}
        # For each layer, the layers before it with their columns and the units that reach those.
        self._feeds = {
            sink: [
                (source, (codes != NONE).nonzero().flatten(), codes[codes != NONE])
                for source, codes in by_source.items()
                if bool((codes != NONE).any())
            ]
            for sink, by_source in graph.reach.items()
        }

    @torch.no_grad()
    def through(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum over all paths through each weight of the product of the others on the path.

        That is ∂R/∂|w|, of pruned weights too: what would flow if they were kept.

        Args:
            masks: Masks by parameter name, True = keep; matrices that they don't name keep all weights.

        Returns:
            Float64 on the weights' devices, of their shapes but for kernels: 1 along those.
        """
        planes = {
            matrix: self._plane(matrix, masks)
            for layer in self._layers.values()
            for matrix in layer.matrices
        }
        columns, first = self._forward(planes)
        found: dict[str, Tensor] = {}
        flow = {name: ends.clone() for name, ends in self._ends.items()}
        for name, layer in reversed(self._layers.items()):
            rows = self._rows[name]
            if layer.recurrent:
                found[layer.recurrent] = torch.outer(flow[name][rows], first[name])
                flow[name] = flow[name] + planes[layer.recurrent].T @ flow[name][rows]
            found[layer.incoming] = torch.outer(flow[name][rows], columns[name])
            back = planes[layer.incoming].T @ flow[name][rows]
            for source, places, units in self._feeds[name]:
                flow[source].index_add_(0, units, back[places])
        return {name: self._shaped(name, found[name]) for name in self._names}

    def _forward(self, planes: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Returns the path sums into each layer's columns, and into its units before recurrence."""
        columns: dict[str, Tensor] = {}
        first: dict[str, Tensor] = {}
        units: dict[str, Tensor] = {}
        for name, layer in self._layers.items():
            arriving = self._begins[name].clone()
            for source, places, reaching in self._feeds[name]:
                arriving[places] += units[source][reaching]
            columns[name] = arriving
            first[name] = units[name] = self._by_unit(layer, planes[layer.incoming] @ arriving)
            if layer.recurrent:
                again = planes[layer.recurrent] @ first[name]
                units[name] = first[name] + self._by_unit(layer, again)
        return columns, first

    def _by_unit(self, layer: Layer, by_row: Tensor) -> Tensor:
        return torch.zeros(layer.width, dtype=torch.float64).index_add_(
            0, self._rows[layer.name], by_row
        )

    def _plane(self, name: str, masks: Mapping[str, Tensor]) -> Tensor:
        weight = self._parameters[name].detach().abs()
        return plane_of(weight * masks[name] if name in masks else weight)

    def _shaped(self, name: str, plane: Tensor) -> Tensor:
        weight = self._parameters[name]
        return plane.view(*plane.shape, *[1] * (weight.dim() - 2)).to(weight.device)


def _begins(graph: Graph, sink: str) -> Tensor:
    """Returns the number of inputs that reach each column of a layer: float64 of shape (columns,)."""
    columns = graph.layers[sink].columns
    inputs = torch.zeros(columns, dtype=torch.float64)
    reached = torch.zeros(columns, dtype=torch.bool)
    for flags in graph.inputs[sink].values():
        inputs += flags
    for codes in graph.reach[sink].values():
        reached |= codes != NONE
    # What nothing was seen to reach isn't understood: it may be anything, as an input.
    return torch.where((inputs == 0) & ~reached, 1.0, inputs)


def _refuse_untraceable(graph: Graph, names: Collection[str]) -> None:
    known = {matrix for layer in graph.layers.values() for matrix in layer.matrices}
    unknown = sorted(set(names) - known)
    if unknown:
        raise TraceError(
            f"it isn't known what {', '.join(unknown)} connects: expected linear layers, convolutions "
            "in one group and recurrent layers of one level that the network runs"
        )
    order = list(graph.layers)
    for sink, by_source in graph.reach.items():
        for source, codes in by_source.items():
            if bool((codes == SEVERAL).any()):
                raise TraceError(
                    f"{sink} reads {source} through something that mixes its units, such as a "
                    "normalisation"
                )
            if bool((codes != NONE).any()) and order.index(source) >= order.index(sink):
                raise TraceError(f"{sink} reads {source}, which is computed after it")
