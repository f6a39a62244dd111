"""The progress of a search, in a few numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Protocol

from search.front.pareto import hypervolume
from search.front.retained import Scale
from search.store.archive import Snapshot

# Share of (best − floor) that a policy may lose and still be good.
GOOD_LOSS = 0.05


@dataclasses.dataclass(frozen=True)
class Point:
    """A policy on the front so far, by its search score.

    Attributes:
        return_mean: The search score.
        sparsity: In [0, 1].
        weights: Non-zero ones.
        retained: Share of the dense baseline's gain over a random policy; NaN while that is unknown.
    """

    return_mean: float
    sparsity: float
    weights: int
    retained: float = math.nan


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a search.

    Attributes:
        env_steps: Training env steps done by members.
        budget: Training env steps that they may do; None: only time limits them.
        running: Segments in training now, the dense baseline's too.
        members: Members in all.
        snapshots: Evaluated moments so far.
        best_return: Highest mean return; NaN before the first.
        sparsest_good: Highest sparsity whose return lies at most 5 % of (best − floor) below the
            best; NaN before the first, and without a floor.
        failures: Segments that failed.
        before: Those of the env steps that were done before this process went on with the search.
        seconds_left: Seconds left of the budget; infinite without one.
        dense: Whether the dense baseline is in training.
        waiting: Members between two segments.
        unborn: Members that have not begun.
        given_up: Members that failed too often.
        front: The non-dominated policies so far that are better than random and constant action, the
            densest first.
        hypervolume: Hypervolume of these over retained and sparsity; NaN while the dense baseline's
            return is unknown.
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
    dense: bool = False
    waiting: int = 0
    unborn: int = 0
    given_up: int = 0
    front: tuple[Point, ...] = ()
    hypervolume: float = math.nan

    @property
    def heard_of(self) -> bool:
        """Whether there is any result, of this process or an earlier one."""
        return bool(self.snapshots) or self.env_steps > self.before

    @property
    def share(self) -> float:
        """Share of the budget in env steps that is spent, in [0, 1]; NaN without one."""
        return math.nan if self.budget is None else min(1.0, self.env_steps / self.budget)

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        spent = self.budget is not None and self.env_steps >= self.budget
        return spent or self.seconds_left <= 0.0


class BestSoFar:
    """Keeps the front so far, and what `Progress` tells of it, up to date, snapshot by snapshot.

    Only the non-dominated pairs of return and sparsity can be either: asking takes no longer the more
    snapshots there are.

    Args:
        snapshots: Those so far.
        floor: Mean return that a policy must exceed to be feasible; −∞ where it isn't known.
    """

    def __init__(self, snapshots: Iterable[Snapshot], floor: float) -> None:
        self._floor = floor
        # By falling return, so by rising sparsity.
        self._front: list[Point] = []
        for snapshot in snapshots:
            self.add(snapshot)

    def add(self, snapshot: Snapshot) -> None:
        """Takes a snapshot into account."""
        if not snapshot.usable:
            return
        new = Point(snapshot.return_mean, snapshot.sparsity, snapshot.nonzero_params)
        mean, sparsity = new.return_mean, new.sparsity
        if any(p.return_mean >= mean and p.sparsity >= sparsity for p in self._front):
            return
        left = [p for p in self._front if p.return_mean > mean or p.sparsity > sparsity]
        self._front = sorted([*left, new], key=lambda p: p.sparsity)

    @property
    def best(self) -> float:
        """Highest mean return; NaN before the first."""
        return self._front[0].return_mean if self._front else math.nan

    @property
    def sparsest_good(self) -> float:
        """Highest sparsity of a good policy; NaN before the first, and without a floor."""
        if not math.isfinite(self._floor):
            return math.nan
        bar = self.best - GOOD_LOSS * max(0.0, self.best - self._floor)
        return max((p.sparsity for p in self._front if p.return_mean >= bar), default=math.nan)

    def front(self, scale: Scale) -> tuple[Point, ...]:
        """Returns the policies that are not dominated, and better than random and constant action.

        Args:
            scale: Scale of returns.

        Returns:
            The densest first.
        """
        kept = scale.retained([p.return_mean for p in self._front])
        return tuple(
            dataclasses.replace(point, retained=float(share))
            for point, share in zip(self._front, kept, strict=True)
            if point.return_mean > self._floor
        )


def covered(front: Iterable[Point], scale: Scale) -> float:
    """Hypervolume of a front over retained and sparsity, as the report draws it over time.

    Args:
        front: Front as returned by `BestSoFar.front`.
        scale: Scale of returns; its better of random and constant action is the reference.

    Returns:
        The area; NaN where retained is unknown.
    """
    reference = scale.retained_floor
    if not math.isfinite(reference):
        return math.nan
    return hypervolume([(p.retained, p.sparsity) for p in front], (reference, 0.0))


class Display(Protocol):
    """Shows a person how a search is getting on."""

    def phase(self, title: str) -> None:
        """A new part of the work begins."""
        ...

    def note(self, text: str) -> None:
        """Shows a further message, such as what is waited for or which node is avoided."""
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
