"""Running means of all members at once: `rllib_ext.pruning.training.statistics.Average`, stacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rllib_ext.packed.devices import can_be_asked
from rllib_ext.packed.network import Rows


class RunningMeans:
    """Running means over recent values, a row per member: exact at first, exponential afterwards.

    A row is made of parts, which count for themselves: a value that isn't finite anywhere in a part
    leaves that part as it was.

    Args:
        values: The means, of shape (members, size of a row).
        parts: Start and stop of each part of a row; together they cover the row.
        summed: Whether sums are kept instead of means.

    Attributes:
        values: The given memory of the means.
        seen: Number of values taken by each part, shape (members, parts), int64.
    """

    def __init__(self, values: Tensor, parts: Sequence[slice], *, summed: bool = False) -> None:
        self.values = values
        self._parts = list(parts)
        self._summed = summed
        shape = len(values), len(self._parts)
        self.seen = torch.zeros(shape, dtype=torch.int64, device=values.device)
        numbers = [torch.full((part.stop - part.start,), i) for i, part in enumerate(self._parts)]
        self._part_of = torch.cat(numbers).to(values.device)

    def add_(self, said: Tensor, rows: Rows, windows: Tensor) -> None:
        """Takes one more value of some members.

        Args:
            said: The values, of shape (rows, size of a row).
            rows: The members.
            windows: Values that each of them remembers, ≥ 1, of shape (rows, 1).
        """
        finite = self._finite(said)
        seen, kept = self.seen[rows], self.values[rows]
        change = said if self._summed else said - kept
        if not self._summed:
            divisor = torch.minimum(seen + 1, windows).to(said)
            alike = can_be_asked(said) and bool((divisor == divisor[:, :1]).all())
            change /= divisor[:, :1] if alike else divisor[:, self._part_of]
        new = kept + change
        if not can_be_asked(said) or not bool(finite.all()):
            new = torch.where(finite[:, self._part_of], new, kept)
        self.values[rows] = new
        self.seen[rows] = seen + finite

    def _finite(self, said: Tensor) -> Tensor:
        """Whether each part is finite, of shape (rows, parts)."""
        finite = torch.isfinite(said)
        if can_be_asked(said) and bool(finite.all()):
            return finite.new_ones(len(said), len(self._parts))
        return torch.stack([finite[:, part].all(1) for part in self._parts], dim=1)
