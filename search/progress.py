"""How far a search is, in a few numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

from search.archive import Snapshot

# Share of (best − floor) that a policy may lose and still be good.
GOOD_LOSS = 0.05


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        env_steps: Training env steps done by members.
        budget: Training env steps that they may do.
        running: Members in training now.
        members: Members in all.
        snapshots: Evaluated moments so far.
        best_return: Highest mean return; NaN before the first.
        sparsest_good: Highest sparsity whose return lies at most 5 % of (best − floor) below the
            best; NaN before the first.
        failures: Segments that failed.
        before: Those of the env steps that were done before this process went on with the search.
    """

    env_steps: int
    budget: int
    running: int
    members: int
    snapshots: int
    best_return: float
    sparsest_good: float
    failures: int
    before: int = 0


def best_and_sparsest(snapshots: Iterable[Snapshot], floor: float) -> tuple[float, float]:
    """`Progress.best_return` and `Progress.sparsest_good`.

    Args:
        snapshots: Of the search.
        floor: Mean return that a policy must exceed to be feasible.
    """
    usable = [s for s in snapshots if s.usable]
    best = max((s.return_mean for s in usable), default=float("nan"))
    bar = best - GOOD_LOSS * max(0.0, best - floor)
    good = (s.sparsity for s in usable if s.return_mean >= bar)
    return best, max(good, default=float("nan"))


class Display(Protocol):
    """Shows a person how a search is getting on."""

    def phase(self, title: str) -> None:
        """A new part of the work begins."""
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
