"""Where a front has its largest gaps, and who can still get there in time. Pure: no Ray, no files.

A front of return over depth – decades of density, 0 for a dense policy – is a staircase. Between a
policy and the next sparser one lies a rectangle that no policy covers: its area is what the hypervolume
would gain if a policy as good as the first had as few weights as the second. Beyond the sparsest policy
lies one more, as high as its return above the floor.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from search.front.pareto import CLEARLY
from search.population.selection import Moment

# Density below which no network is pruned: keeps depths finite.
_LEAST_DENSITY = 1e-12
# Narrowest gap, in decades: narrower ones are rounding.
_NARROWEST = 1e-9
# Distance from a target, in decades, within which lineages start for it.
NEAR = 1.0
# Share of those near that are drawn from: the most trained.
MOST_TRAINED = 1 / 3


@dataclasses.dataclass(frozen=True)
class Gap:
    """The room between two neighbours of a front.

    Attributes:
        low: Depth of the denser neighbour, in decades.
        high: Depth of the sparser neighbour, or of the deepest policy that may be aimed at.
        height: Return that the denser neighbour has and the sparser one lacks.
    """

    low: float
    high: float
    height: float

    @property
    def area(self) -> float:
        """What the hypervolume would gain if the gap were filled, in decades times return."""
        return (self.high - self.low) * self.height


def depth(sparsity: float) -> float:
    """Returns a sparsity in decades of density: 0 for a dense policy, 2 for 1 % of the weights."""
    return -math.log10(max(1.0 - sparsity, _LEAST_DENSITY))


def sparsity_at(decades: float) -> float:
    """Returns the sparsity at a depth: the inverse of `depth`."""
    return 1.0 - math.pow(10.0, -decades)


def gaps(moments: Iterable[Moment], deepest: float, floor: float) -> list[Gap]:
    """Returns the gaps of the front of some moments, by rising depth; none of them has no area.

    Args:
        moments: Evaluated policies, with the return as first objective.
        deepest: Depth of the sparsest policy that may be aimed at.
        floor: Return that counts as none.
    """
    points = sorted(((depth(m.sparsity), m.objectives[0]) for m in moments), reverse=True)
    front: list[tuple[float, float]] = []
    for at, mean in points:
        if not front or mean > front[-1][1]:
            front.append((at, mean))
    front.reverse()
    ends = [*front[1:], (deepest, floor)]
    found = [
        Gap(at, until, mean - less) for (at, mean), (until, less) in zip(front, ends, strict=True)
    ]
    return [gap for gap in found if gap.high - gap.low > _NARROWEST and gap.height > 0.0]


def choose_gap(found: Sequence[Gap], tried: Sequence[float], rng: np.random.Generator) -> Gap:
    """Draws a gap in proportion to its area, shared out over all attempts at it and one more.

    A gap that stays open however often it is tried is one that no policy can fill.

    Args:
        found: Gaps, at least one.
        tried: Depths that members have set out for so far.
        rng: Draws the gap.
    """
    worth = np.array([g.area / (1 + sum(g.low < t <= g.high for t in tried)) for g in found])
    return found[int(rng.choice(len(found), p=worth / worth.sum()))]


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a lineage prunes.

    Attributes:
        per_decade: Share of the horizon that a decade of density takes.
        horizon: End of a lineage's clock, in env steps.
        latest: Clock by which pruning must have ended, in env steps.
    """

    per_decade: float
    horizon: int
    latest: float

    def ends(self, env_steps: int, low: float, high: float) -> float:
        """Returns the share of the horizon at which pruning from one depth to another ends.

        Args:
            env_steps: Clock at which it starts.
            low: Depth that it starts from.
            high: Depth that it goes to.
        """
        return env_steps / self.horizon + self.per_decade * max(0.0, high - low)

    def reach(self, moment: Moment) -> float:
        """Returns the depth that a lineage that starts at a moment comes down to in time."""
        steps = max(0.0, self.latest - moment.env_steps)
        return depth(moment.sparsity) + steps / self.horizon / self.per_decade


def choose_start(able: Sequence[Moment], target: float, rng: np.random.Generator) -> Moment:
    """Draws the moment from which a lineage sets out for a depth.

    Considered are moments whose return isn't surely below the best one's: a single lucky evaluation
    must not draw everybody. Of those within a decade of the target, one of the most trained third is
    drawn, so that several lineages get a try: all descendants of one policy may lack the same weight. If
    none is within a decade, the sparsest is taken.

    Args:
        able: Moments that can be started from, at least one, with the return as first objective.
        target: The depth, in decades.
        rng: Draws the moment.
    """
    sure = max(m.objectives[0] - m.standard_error for m in able)
    good = [m for m in able if m.objectives[0] >= sure]
    near = sorted(
        (m for m in good if depth(m.sparsity) >= target - NEAR), key=lambda m: -m.env_steps
    )
    if not near:
        return max(good, key=lambda m: (m.sparsity, m.objectives[0], -m.env_steps))
    return near[int(rng.integers(math.ceil(MOST_TRAINED * len(near))))]


def beaten(moment: Moment, others: Iterable[Moment]) -> bool:
    """Whether another of no more weights and training returns clearly more, by errors of both."""
    return any(
        other.sparsity >= moment.sparsity
        and other.env_steps <= moment.env_steps
        and other.objectives[0] - moment.objectives[0]
        > CLEARLY * math.hypot(other.standard_error, moment.standard_error)
        for other in others
    )
