"""Units that a pruned network no longer needs: constant ones, and ones that nothing reads.

Both are found by propagation. A unit whose inputs are all pruned is constant, so that its value can be
added to the biases of what reads it, which may leave further units without inputs. A unit that nothing
reads leaves units before it unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.structure.coupling import NO_GROUP, Coupling
from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.layers import Layer, plane_of
from rllib_ext.pruning.structure.liveness import folds_constants
from rllib_ext.pruning.structure.probe import Forward, run
from rllib_ext.pruning.structure.reach import NONE, SEVERAL
from rllib_ext.pruning.structure.stand_ins import StandIns


@torch.no_grad()
def fold_constants_(
    module: nn.Module, forward: Forward, inputs: Any, graph: Graph, stand_ins: StandIns
) -> None:
    """Adds the values of constant units to the biases of what reads them, in place.

    Afterwards nothing reads a constant unit, but where that cannot be had exactly: a convolution that
    pads with zeros sees another value at its border, a layer without bias has nowhere to add it.

    Args:
        module: The network.
        forward: Runs it.
        inputs: Example inputs.
        graph: The coupling of the module's units, as `trace` finds it.
        stand_ins: Known values in the form of what its layers return.

    Raises:
        ShrinkError: A constant unit feeds a normalisation, which mixes it with others.
    """
    folded = {name: torch.zeros(x.columns, dtype=torch.bool) for name, x in graph.layers.items()}
    levels: dict[str, Tensor] = {}
    while True:
        found = {name: _levels(layer, folded[name]) for name, layer in graph.layers.items()}
        if all(
            name in levels and torch.equal(levels[name].isnan(), level.isnan())
            for name, level in found.items()
        ):
            return
        levels = found
        _refuse_normalised(graph, levels)
        seen = run(module, forward, inputs, graph.layers, (), stand_ins.constant(levels))
        for name, layer in graph.layers.items():
            for column in torch.nonzero(_constant_columns(graph, name, levels) & ~folded[name]):
                index = int(column)
                values = torch.cat([call[index] for call in seen.layer_inputs[name]])
                folded[name][index] = fold_column_(layer, index, values)
            if layer.recurrent:
                # A unit that is always zero adds nothing to the next step.
                zero = ~levels[name].isnan()
                layer.parameter(layer.recurrent)[:, zero] = 0.0


def _levels(layer: Layer, folded: Tensor) -> Tensor:
    """The value of each unit whose value is always the same, NaN for the others; of shape (width,)."""
    unread = _read(layer, layer.incoming)[:, ~folded].sum(1) == 0
    biases = [layer.parameter(name).detach().cpu() for name in layer.biases]
    bias = torch.stack(biases).sum(0) if biases else torch.zeros(len(unread))
    if not layer.recurrent:
        return torch.where(unread, bias, torch.nan)
    unread &= _read(layer, layer.recurrent).sum(1) == 0
    zero = unread & torch.stack([b == 0 for b in biases]).all(0) if biases else unread
    # From a zero state, a unit stays zero when what would be added to it is: torch stacks the gates,
    # and of an LSTM's (i, f, g, o) and a GRU's (r, z, n) that is the third.
    candidate = {4: 2, 3: 2, 1: 0}[layer.gates]
    always_zero = zero.view(layer.gates, layer.width)[candidate]
    return torch.where(always_zero, 0.0, torch.nan)


def _constant_columns(graph: Graph, sink: str, levels: Mapping[str, Tensor]) -> Tensor:
    columns = graph.layers[sink].columns
    reached = torch.zeros(columns, dtype=torch.bool)
    constant = torch.ones(columns, dtype=torch.bool)
    for source, codes in graph.reach[sink].items():
        reached |= codes != NONE
        is_constant = ~levels[source].isnan()[codes.clamp_min(0)] & (codes >= 0)
        constant &= is_constant | (codes == NONE)
    for from_input in graph.inputs[sink].values():
        constant &= ~from_input
    return reached & constant


def fold_column_(layer: Layer, column: int, values: Tensor) -> bool:
    """Adds a constant input to a layer's bias and zeroes the weights that read it, in place.

    Args:
        layer: The layer.
        column: Index of the input.
        values: Values of that input that were seen, of any shape.

    Returns:
        Whether that could be done exactly; where not, nothing was changed.
    """
    weight = layer.parameter(layer.incoming)
    level = values[0]
    # Vectorised activations round the last elements of a tensor differently.
    rounding = 8 * torch.finfo(values.dtype).eps * values.abs().max()
    if bool(((values - level).abs() > rounding).any()):
        return False
    if bool(level != 0):
        if not folds_constants(layer):
            return False
        by_row = weight[:, column].flatten(1).sum(1) if layer.kernel_dims else weight[:, column]
        layer.parameter(layer.biases[0]).add_(by_row * level)
    weight[:, column] = 0.0
    return True


def _refuse_normalised(graph: Graph, levels: Mapping[str, Tensor]) -> None:
    for name, sources in graph.feeds.items():
        for source in sources & graph.layers.keys():
            dead = torch.nonzero(~levels[source].isnan()).flatten().tolist()
            if dead:
                raise ShrinkError(
                    f"{source} has units without inputs ({_listed(dead)}), but they feed {name} "
                    f"({graph.opaque[name]}), which mixes them with the others or rescales them, so "
                    "that no smaller layer gives equal outputs. Keep the masked module, or train a "
                    "network without that layer."
                )


def needed_units(graph: Graph, coupling: Coupling) -> dict[str, Tensor]:
    """Returns the units that an output depends on, or that can't be removed; at least one per layer.

    The last unit of a layer that nothing needs stays with weights of zero.

    Args:
        graph: The coupling of a network whose constant units are folded.
        coupling: Units that can only be removed together.

    Returns:
        Bool of shape (width,) by layer.

    Raises:
        ShrinkError: Nothing reads a unit any more, but a normalisation still mixes it with others.
    """
    _refuse_unread(graph)
    needed = {name: groups == NO_GROUP for name, groups in coupling.units.items()}
    _propagate_(graph, coupling, needed)
    for name, layer in graph.layers.items():
        if not bool(needed[name].any()):
            needed[name][0] = True
            _silence_(layer, 0)
            _propagate_(graph, coupling, needed)
    return needed


def _propagate_(graph: Graph, coupling: Coupling, needed: dict[str, Tensor]) -> None:
    """Adds all that the needed units depend on, in place."""
    before = -1
    while (now := sum(int(units.sum()) for units in needed.values())) != before:
        before = now
        groups = torch.zeros(coupling.count + 1, dtype=torch.bool)
        for name, layer in graph.layers.items():
            rows = needed[name][layer.unit_of_row()]
            read = _read(layer, layer.incoming)[rows].sum(0) > 0
            for source, codes in graph.reach[name].items():
                needed[source][codes[read & (codes >= 0)]] = True
            if layer.recurrent:
                needed[name] |= _read(layer, layer.recurrent)[rows].sum(0) > 0
        for name, units in needed.items():
            groups[coupling.units[name][units]] = True
        groups[NO_GROUP] = True
        for name in needed:
            needed[name] |= groups[coupling.units[name]]


@torch.no_grad()
def _silence_(layer: Layer, unit: int) -> None:
    rows = layer.unit_of_row() == unit
    for name in (*layer.matrices, *layer.biases):
        layer.parameter(name)[rows.to(layer.parameter(name).device)] = 0.0


def _refuse_unread(graph: Graph) -> None:
    mixers = {source for sources in graph.feeds.values() for source in sources}
    for sink, layer in graph.layers.items():
        unread = _read(layer, layer.incoming).sum(0) == 0
        for source in mixers & graph.reach[sink].keys():
            lost = torch.nonzero(unread & (graph.reach[sink][source] == SEVERAL)).flatten().tolist()
            if lost:
                name = next(n for n, sources in graph.feeds.items() if source in sources)
                raise ShrinkError(
                    f"{sink} no longer reads its inputs {_listed(lost)}, but they come from {source} "
                    f"through {name} ({graph.opaque[name]}), which mixes all units of {source}, so "
                    "that no smaller layer gives equal outputs. Keep the masked module, or train a "
                    "network without that layer."
                )


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(n) for n in numbers[:5])
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _read(layer: Layer, name: str) -> Tensor:
    """Magnitudes of one of a layer's matrices as (rows, columns)."""
    return plane_of(layer.parameter(name).abs())
