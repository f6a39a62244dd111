"""Finds what the units of a layer reach, by changing them.

Units are told apart by the bits of their index, so that a layer of 256 units takes 8 runs with the units
whose bit is set changed and 8 with the others, for each way to change them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from rllib_ext.pruning.scope import lies_in
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.probe import Changed

# In place of a unit's index: no unit of the layer reaches the column, or several do.
NONE, SEVERAL = -1, -2

# What changes when the chosen units of some layers take the values of a variant.
Change = Callable[[Mapping[str, Tensor], str], Changed]


@dataclasses.dataclass(frozen=True)
class Reached:
    """The columns and outputs that the units of one layer reach.

    Attributes:
        columns: For each layer, the unit that reaches each column, `NONE` or `SEVERAL`: int64 of shape
            (columns,).
        elements: For each other tensor, whether any unit reaches each element: bool, flat.
        unseen: Units that were not seen to reach anything: bool of shape (width,).
    """

    columns: dict[str, Tensor]
    elements: dict[str, Tensor]
    unseen: Tensor

    def suspect_(self, sinks: Iterable[str]) -> None:
        """Takes the units to reach all columns of some layers that none was seen to reach."""
        for sink in sinks:
            if bool((self.columns[sink] == NONE).all()):
                self.columns[sink].fill_(SEVERAL)


def reached_by(layer: Layer, change: Change, variants: Sequence[str]) -> Reached:
    """Runs the network for each bit of the unit index, set and unset, once for each variant."""
    bits = max(1, (layer.width - 1).bit_length())
    index = torch.arange(layer.width)
    ones: dict[str, Tensor] = {}
    zeros: dict[str, Tensor] = {}
    elements: dict[str, Tensor] = {}
    for bit in range(bits):
        is_set = (index >> bit & 1).bool()
        for chosen, codes in ((is_set, ones), (~is_set, zeros)):
            if not bool(chosen.any()):
                continue
            for variant in variants:
                changed = change({layer.name: chosen}, variant)
                for name, flags in changed.elements.items():
                    elements[name] = elements.get(name, flags) | flags
                for sink, columns in changed.columns.items():
                    codes.setdefault(sink, torch.zeros(len(columns), dtype=torch.int64))
                    codes[sink] |= columns.to(torch.int64) << bit
    full = (1 << bits) - 1
    reached: dict[str, Tensor] = {}
    for sink in zeros:
        one, zero = ones.get(sink, torch.zeros_like(zeros[sink])), zeros[sink]
        unit = torch.where((one ^ zero) == full, one, torch.full_like(one, SEVERAL))
        reached[sink] = torch.where((one | zero) == 0, torch.full_like(one, NONE), unit)
    return Reached(reached, elements, _unseen(layer.width, reached, elements))


def _unseen(width: int, reached: Mapping[str, Tensor], elements: Mapping[str, Tensor]) -> Tensor:
    mixed = any(bool((codes == SEVERAL).any()) for codes in reached.values())
    if mixed or any(bool(flags.any()) for flags in elements.values()):
        # Which unit it was isn't told; none of them can go.
        return torch.zeros(width, dtype=torch.bool)
    unseen = torch.ones(width, dtype=torch.bool)
    for codes in reached.values():
        unseen[codes[codes >= 0]] = False
    return unseen


def anything_missed(
    units: Mapping[str, Reached], by_input: Mapping[str, Changed], unread: Iterable[str]
) -> bool:
    """Whether a unit was not seen to reach anything, or a column to be reached by anything.

    Args:
        units: For each layer, what its units reach.
        by_input: For each network input, what changes with it.
        unread: Names of submodules whose outputs nothing reads.
    """
    parts = tuple(unread)
    if any(bool(found.unseen.any()) and not lies_in(name, parts) for name, found in units.items()):
        return True
    for sink in units:
        reached = [found.columns[sink] != NONE for found in units.values()]
        reached += [changed.columns[sink] for changed in by_input.values()]
        if not bool(torch.stack(reached).any(0).all()):
            return True
    return False
