"""The population's algorithm: how many train, who copies whom, and when. Pure: no Ray, no files.

Multi-objective population-based training after Dushatskiy et al. 2023 (MO-PBT, arXiv 2306.01436):
members are ranked by non-dominated sorting of their objectives, ties by spread; the worst copy one of
the best. Three rules keep the ranking alive: what is no better than a random or constant policy
ranks last and never donates; a donor is not denser than the receiver; members are compared at like
progress. All objectives are maximised.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

# Points that distances are taken from at once: bounds what that takes of memory.
_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """An evaluated moment of a member, as the algorithm sees it.

    Attributes:
        snapshot_id: Id of its snapshot.
        member: Index of the member.
        env_steps: The lineage's clock.
        objectives: Values to maximise, such as (return, sparsity); all finite.
        sparsity: The policy path's sparsity, in [0, 1].
        feasible: Whether it is better than a random and a constant policy.
        donates: Whether its training state is still there to be copied.
        standard_error: The first objective's standard error.
    """

    snapshot_id: str
    member: int
    env_steps: int
    objectives: tuple[float, ...]
    sparsity: float
    feasible: bool = True
    donates: bool = True
    standard_error: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """The algorithm's settings.

    Attributes:
        exploit_share: Share of the population that copies, and share that may donate, in (0, 0.5].
        density_tolerance: Largest excess of a donor's density over the receiver's, as a share of the
            latter, ≥ 0.
        progress_tolerance: Largest difference of clocks that counts as like progress, in env steps.
    """

    exploit_share: float
    density_tolerance: float
    progress_tolerance: int


def nondominated_fronts(objectives: np.ndarray) -> list[np.ndarray]:
    """Sorts points into fronts: the first dominated by none, the second only by the first, and so on.

    Two objectives take O(n log n), others O(n²).

    Args:
        objectives: Shape (points, objectives), finite, to be maximised.

    Returns:
        Indices of each front's points, ascending. Equal points share a front.
    """
    if objectives.shape[1] == 2:
        return _fronts_of_two(objectives)
    no_worse: np.ndarray = np.all(objectives[:, None, :] >= objectives[None, :, :], axis=2)
    dominates = no_worse & ~no_worse.T
    dominators = dominates.sum(axis=0)
    left = np.ones(len(objectives), dtype=bool)
    fronts: list[np.ndarray] = []
    while left.any():
        front = np.flatnonzero(left & (dominators == 0))
        fronts.append(front)
        left[front] = False
        dominators = dominators - dominates[front].sum(axis=0)
    return fronts


def _fronts_of_two(objectives: np.ndarray) -> list[np.ndarray]:
    """Takes points by falling first objective: each is dominated by a front iff its best second is."""
    fronts: list[list[int]] = []
    # Of each front the negated best second objective so far: ascending.
    best: list[float] = []
    before: tuple[float, float] | None = None
    at = 0
    for i in np.lexsort((-objectives[:, 1], -objectives[:, 0])):
        point = float(objectives[i, 0]), float(objectives[i, 1])
        if point != before:
            at = bisect.bisect_right(best, -point[1])
        if at == len(fronts):
            fronts.append([])
            best.append(0.0)
        fronts[at].append(int(i))
        best[at] = -point[1]
        before = point
    return [np.sort(np.array(front)) for front in fronts]


def rank(objectives: np.ndarray, feasible: np.ndarray, first: int | None = None) -> list[int]:
    """Orders points from best to worst.

    By front; within a front greedily the point that lies farthest from all that are ranked already,
    objectives scaled to [0, 1]; the very first is the best on the first objective. Infeasible points
    come last, ordered by the first objective.

    Args:
        objectives: Shape (points, objectives), finite, to be maximised.
        feasible: Shape (points,), bool.
        first: Number of points to return; None means all.

    Returns:
        Indices, best first. Ties go to the lower index.
    """
    order: list[int] = []
    able = np.flatnonzero(feasible)
    if len(able):
        scaled = _scaled(objectives[able])
        ranked: list[int] = []
        for front in nondominated_fronts(scaled):
            ranked += _spread_order(scaled, front, ranked, first and first - len(ranked))
            if len(ranked) == first:
                break
        order = [int(able[i]) for i in ranked]
    unable = np.flatnonzero(~feasible)
    order += [int(i) for i in unable[np.argsort(-objectives[unable, 0], kind="stable")]]
    return order[:first]


def _scaled(objectives: np.ndarray) -> np.ndarray:
    low = objectives.min(axis=0)
    span = objectives.max(axis=0) - low
    scaled: np.ndarray = (objectives - low) / np.where(span > 0, span, 1.0)
    return scaled


def _spread_order(
    scaled: np.ndarray, front: np.ndarray, ranked: Sequence[int], first: int | None
) -> list[int]:
    """The first of a front, farthest from all that are ranked already first."""
    points = scaled[front]
    # Squared distance of each point from the nearest that is ranked; −∞ once it is itself.
    nearest = _nearest(points, scaled[np.array(ranked, dtype=int)])
    order: list[int] = []
    for _ in range(len(front) if first is None else min(first, len(front))):
        if ranked or order:
            at = int(np.argmax(nearest))
        else:
            at = max(range(len(points)), key=lambda k: (*points[k], -k))
        order.append(int(front[at]))
        nearest = np.minimum(nearest, _squared_distances(points, points[at]))
        nearest[at] = -np.inf
    return order


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distance of each point from the nearest of others; infinite where there is none."""
    nearest = np.full(len(points), np.inf)
    for i in range(0, len(others), _BLOCK):
        distances = _squared_distances(points[:, None], others[i : i + _BLOCK])
        nearest = np.minimum(nearest, distances.min(axis=1))
    return nearest


def _squared_distances(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    away = points - point
    squared: np.ndarray = np.einsum("...j,...j->...", away, away)
    return squared


def at_progress(moments: Sequence[Moment], env_steps: int, tolerance: int) -> list[Moment]:
    """Each member's moment nearest to a clock, of those within a tolerance of it.

    Args:
        moments: In the order they were made.
        env_steps: The clock.
        tolerance: Largest distance from it, in env steps.

    Returns:
        One moment a member at most, by member; of two as near the later.
    """
    nearest: dict[int, Moment] = {}
    for moment in moments:
        distance = abs(moment.env_steps - env_steps)
        known = nearest.get(moment.member)
        if distance > tolerance:
            continue
        if known is None or distance <= abs(known.env_steps - env_steps):
            nearest[moment.member] = moment
    return [nearest[member] for member in sorted(nearest)]


def among_the_worst(moment: Moment, population: Sequence[Moment], share: float) -> bool:
    """Whether a moment ranks among the last of a population; never where it is too small to tell.

    Args:
        moment: One of the population.
        population: Moments at like progress; fewer than 4 are too few.
        share: Share of the population that counts as the worst, at least one of it.
    """
    if len(population) < 4:
        return False
    count = max(1, math.floor(share * len(population)))
    order = rank(
        np.array([m.objectives for m in population]), np.array([m.feasible for m in population])
    )
    return moment.snapshot_id in {population[i].snapshot_id for i in order[-count:]}


def choose_donor(
    receiver: Moment,
    population: Sequence[Moment],
    archive: Sequence[Moment],
    rules: Rules,
    rng: np.random.Generator,
) -> Moment | None:
    """Decides whether a member copies another, and which.

    Args:
        receiver: Latest moment of the member.
        population: Moments of all members at like progress, the receiver's among them.
        archive: Further moments that may donate.
        rules: The settings.
        rng: Draws the donor.

    Returns:
        The donor; None: the member goes on as it is. It does where it isn't among the worst, where
        the population is too small to tell (fewer than 4), and where nothing may donate.
    """
    if not among_the_worst(receiver, population, rules.exploit_share):
        return None
    pool = {m.snapshot_id: m for m in (*population, *archive)}
    pool.pop(receiver.snapshot_id)
    near = [
        m
        for m in pool.values()
        if m.feasible
        and m.donates
        and abs(m.env_steps - receiver.env_steps) <= rules.progress_tolerance
        and (not receiver.feasible or not _denser(m, receiver, rules.density_tolerance))
    ]
    if not near:
        return None
    # One is drawn before they are ranked: those behind it need no rank.
    drawn = int(rng.integers(max(1, math.floor(rules.exploit_share * len(near)))))
    order = rank(np.array([m.objectives for m in near]), np.ones(len(near), dtype=bool), drawn + 1)
    return near[order[drawn]]


def stagnant(before: Moment, after: Moment) -> bool:
    """Whether a segment changed nothing: no weight went, and the first objective did not rise.

    Without this a member whose schedule has ended spends the rest of its budget where it stands.

    Args:
        before: Moment at the segment's start.
        after: Moment at its end.
    """
    noise = math.hypot(before.standard_error, after.standard_error)
    return (
        after.sparsity == before.sparsity
        and after.objectives[0] <= before.objectives[0] + 2.0 * noise
    )


def _denser(donor: Moment, receiver: Moment, tolerance: float) -> bool:
    return 1.0 - donor.sparsity > (1.0 - receiver.sparsity) * (1.0 + tolerance)
