"""How far a search is, in a few numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Protocol

from search.store.archive import Snapshot

# Share of (best − floor) that a policy may lose and still be good.
GOOD_LOSS = 0.05


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        env_steps: Training env steps done by members.
        budget: Training env steps that they may do; None: only time limits them.
        running: Members in training now.
        members: Members in all.
        snapshots: Evaluated moments so far.
        best_return: Highest mean return; NaN before the first.
        sparsest_good: Highest sparsity whose return lies at most 5 % of (best − floor) below the
            best; NaN before the first, and without a floor.
        failures: Segments that failed.
        before: Those of the env steps that were done before this process went on with the search.
        seconds_left: What is left of a budget in seconds; infinite without one.
    """

    env_steps: int
    budget: int | None
    running: int
    members: int
    snapshots: int
    best_return: float
    sparsest_good: float
    failures: int
    before: int = 0
    seconds_left: float = math.inf

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        spent = self.budget is not None and self.env_steps >= self.budget
        return spent or self.seconds_left <= 0.0


class BestSoFar:
    """Keeps `Progress.best_return` and `Progress.sparsest_good` up to date, snapshot by snapshot.

    Only the non-dominated pairs of return and sparsity can be either: asking takes no longer the more
    snapshots there are.

    Args:
        snapshots: Those so far.
        floor: Mean return that a policy must exceed to be feasible; −∞ where it isn't known.
    """

    def __init__(self, snapshots: Iterable[Snapshot], floor: float) -> None:
        self._floor = floor
        # By falling return, so by rising sparsity.
        self._front: list[tuple[float, float]] = []
        for snapshot in snapshots:
            self.add(snapshot)

    def add(self, snapshot: Snapshot) -> None:
        """Takes a snapshot into account."""
        if not snapshot.usable:
            return
        new = snapshot.return_mean, snapshot.sparsity
        if any(r >= new[0] and s >= new[1] for r, s in self._front):
            return
        left = [(r, s) for r, s in self._front if r > new[0] or s > new[1]]
        self._front = sorted([*left, new], reverse=True)

    @property
    def best(self) -> float:
        """Highest mean return; NaN before the first."""
        return self._front[0][0] if self._front else math.nan

    @property
    def sparsest_good(self) -> float:
        """Highest sparsity of a good policy; NaN before the first, and without a floor."""
        if not math.isfinite(self._floor):
            return math.nan
        bar = self.best - GOOD_LOSS * max(0.0, self.best - self._floor)
        return max((s for r, s in self._front if r >= bar), default=math.nan)


class Display(Protocol):
    """Shows a person how a search is getting on."""

    def phase(self, title: str) -> None:
        """A new part of the work begins."""
        ...

    def note(self, text: str) -> None:
        """What a person should know beside all that: what is waited for, which node is avoided."""
        ...

    def searching(self, progress: Progress) -> None:
        """Members train."""
        ...

    def training_baselines(self, done: int, total: int) -> None:
        """Baselines train."""
        ...

    def evaluating(self, done: int, total: int) -> None:
        """Policies are evaluated again."""
        ...
