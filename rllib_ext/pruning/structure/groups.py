"""Groups of weights that are pruned together: those of a unit, a layer or a branch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.structure.coupling import NO_GROUP
from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.layers import plane_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Structure:
    """The groups of a network.

    Attributes:
        rows: For each weight matrix, the group of each row (first dimension), `NO_GROUP` for none.
        columns: For each weight matrix, the group of each column (second dimension).
        biases: For each bias, the group of each element.
        names: Description of each group, such as "pi.net.mlp.0[3]".
        homes: The weight matrix that each group is counted with.
        takes: For each group, how many units it takes from which layer or network input.
        widths: Units of each layer.
        graph: The coupling that the groups were read from.
        whole: Whether groups are layers or branches, that may take a layer's last unit.
        left_alone: Layers that no group contains although they are no outputs, and why.
    """

    rows: dict[str, Tensor]
    columns: dict[str, Tensor]
    biases: dict[str, Tensor]
    names: tuple[str, ...]
    homes: tuple[str, ...]
    takes: tuple[dict[str, int], ...]
    widths: dict[str, int]
    graph: Graph
    whole: bool
    left_alone: dict[str, str]

    def __len__(self) -> int:
        return len(self.names)

    def totals(self, values: Mapping[str, Tensor]) -> Tensor:
        """Sums values of weights over each group, a weight that lies in row and column once.

        Args:
            values: Tensors of the weights' shapes by name; what is missing adds nothing.

        Returns:
            Sums in float64, of shape (groups,), on the CPU.
        """
        into, out_of = self.split_totals(values)
        return into + out_of

    def split_totals(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`totals`, for the rows (what a group reads) and the columns (what reads it) apart."""
        into = torch.zeros(len(self) + 1, dtype=torch.float64)
        out_of = torch.zeros_like(into)
        for name, rows in self.rows.items():
            if name not in values:
                continue
            plane = plane_of(values[name])
            columns = self.columns[name]
            into.index_add_(0, rows % len(into), plane.sum(1))
            twice = (rows[:, None] == columns[None, :]) & (rows != NO_GROUP)[:, None]
            out_of.index_add_(0, columns % len(into), plane.masked_fill(twice, 0.0).sum(0))
        # NO_GROUP is the last element modulo the length.
        return into[:-1], out_of[:-1]

    def removal_times(self, name: str, position: Tensor, never: int) -> Tensor:
        """When each weight of a matrix goes, if groups go at given positions.

        Args:
            name: The matrix.
            position: Position of each group: int64 of shape (groups,).
            never: The position of what stays, no smaller than any other.

        Returns:
            int64 of shape (rows, columns).
        """
        extended = torch.cat([position, position.new_tensor([never])])
        rows, columns = extended[self.rows[name]], extended[self.columns[name]]
        return torch.minimum(rows[:, None], columns[None, :])

    def keep_masks(self, removed: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks without the weights of the removed groups (bool of shape (groups,))."""
        kept = dict(masks)
        for name in self.rows:
            mask = masks[name]
            keep = self.removal_times(name, (~removed).to(torch.int64), never=1).bool()
            kept[name] = mask & keep.view(*keep.shape, *[1] * (mask.dim() - 2)).to(mask.device)
        return kept

    def removed(self, masks: Mapping[str, Tensor]) -> Tensor:
        """The groups that have lost all their weights: bool of shape (groups,)."""
        return self.totals(masks) == 0

    def bias_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the biases that went with removed groups; biases that lost none are left out."""
        kept = torch.cat([~self.removed(masks), torch.ones(1, dtype=torch.bool)])
        return {
            name: kept[groups]
            for name, groups in self.biases.items()
            if not bool(kept[groups].all())
        }
