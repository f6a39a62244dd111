"""Pareto fronts: non-dominated points, hypervolume, knee, and candidates for re-evaluation.

A point is (return, sparsity); both are maximised. Uses only NumPy, so that a running search and a report
can share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.store.archive import Snapshot

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# One snapshot clearly beats another if their means differ by this many standard errors of both.
CLEARLY = 2.0
# Difference in decades of density below which neighbours in training count as nearly the same policy.
NEARLY = 0.1
# Number of points compared with the front at once.
BLOCK = 512


def nondominated(points: ArrayLike) -> Bools:
    """Marks the points that no other point dominates, in O(n log n).

    A point dominates another if it is at least as good in both coordinates and better in one. Equal
    points don't dominate each other, so that all of them are marked. Non-finite points never are.

    Args:
        points: Points, shape (n, 2); both coordinates are maximised.

    Returns:
        Boolean array, shape (n,).
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    found = np.zeros(len(array), dtype=bool)
    finite = np.flatnonzero(np.isfinite(array).all(axis=1))
    if not finite.size:
        return found
    x, y = array[finite, 0], array[finite, 1]
    order = np.lexsort((-y, -x))
    x, y = x[order], y[order]
    # The first point of each group of equal x is its best; only points with greater x can dominate it.
    starts = np.r_[True, x[1:] != x[:-1]]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(x)), 0))
    best_before = np.r_[-np.inf, np.maximum.accumulate(y)[:-1]][first]
    found[finite[order]] = (y == y[first]) & (y > best_before)
    return found


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> float:
    """Returns the area that the points dominate above a reference point.

    Args:
        points: Points, shape (n, 2); both coordinates are maximised. Points that don't exceed the
            reference in both coordinates add nothing.
        reference: Lower left corner of the area. Fix it before the search and report it.

    Returns:
        The area, ≥ 0.
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2) - np.asarray(reference)
    array = array[nondominated(array) & (array > 0).all(axis=1)]
    array = np.unique(array, axis=0)
    left = np.r_[0.0, array[:-1, 0]] if len(array) else array[:, 0]
    return float(((array[:, 0] - left) * array[:, 1]).sum())


def hypervolume_history(points: ArrayLike, reference: tuple[float, float]) -> Floats:
    """Returns the hypervolumes of the first 1, 2, …, n points.

    Args:
        points: Points in the order they were found, shape (n, 2); both coordinates are maximised.
        reference: Reference point of the hypervolumes.

    Returns:
        Shape (n,), never decreasing.
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    gains = np.zeros(len(array))
    inside = np.flatnonzero(np.isfinite(array).all(axis=1) & (array > reference).all(axis=1))
    front = np.empty((0, 2))
    area = 0.0
    for start in range(0, len(inside), BLOCK):
        block = inside[start : start + BLOCK]
        # Most points of a long search are dominated by earlier ones; one comparison finds them all.
        covered = np.any(np.all(front[None] >= array[block][:, None], axis=2), axis=1)
        for i in block[~covered]:
            point: Floats = array[i]
            if np.any(np.all(front >= point, axis=1)):
                continue
            front = np.vstack([front[~(front <= point).all(axis=1)], point])
            grown = hypervolume(front, reference)
            gains[i], area = grown - area, grown
    return np.cumsum(gains)


def log_density(sparsity: ArrayLike, total: ArrayLike) -> Floats:
    """Returns −log10 of the density: 0 for a dense policy, log10(n) for one weight of n.

    Args:
        sparsity: Sparsity in [0, 1].
        total: Number of prunable weights n; a density below 1/n counts as 1/n.

    Returns:
        Decades of density, ≥ 0.
    """
    floor = 1.0 / np.maximum(np.asarray(total, dtype=np.float64), 1.0)
    density = np.clip(1.0 - np.asarray(sparsity, dtype=np.float64), floor, 1.0)
    return np.asarray(0.0 - np.log10(density), dtype=np.float64)


def knee(returns: ArrayLike, decades: ArrayLike) -> int | None:
    """Returns the knee of a front: the last point before the return begins to fall fast.

    Both coordinates are scaled to [0, 1] over the front; the knee is the point farthest above the chord
    between the two ends (Das 1999; "Kneedle", Satopää et al. 2011). Retained share and mean return give
    the same point, because one is a linear function of the other.

    Args:
        returns: Mean return or retained share of each front point, shape (n,).
        decades: `log_density` of each front point, shape (n,).

    Returns:
        Index of the knee; None if there are fewer than three points, a value isn't finite, a coordinate
        doesn't vary, or no point is above the chord.
    """
    y, x = np.asarray(returns, dtype=np.float64), np.asarray(decades, dtype=np.float64)
    if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    x_range, y_range = np.ptp(x), np.ptp(y)
    if x_range == 0 or y_range == 0:
        return None
    x, y = (x - x.min()) / x_range, (y - y.min()) / y_range
    densest, sparsest = int(np.argmin(x)), int(np.argmax(x))
    chord = y[densest] + (y[sparsest] - y[densest]) * x
    above = y - chord
    best = int(np.argmax(above))
    return best if above[best] > 1e-9 else None


def candidates(
    snapshots: Sequence[Snapshot],
    limit: int,
    *,
    floor: float = -math.inf,
    optimism: float = 1.0,
) -> list[Snapshot]:
    """Returns the snapshots to re-evaluate on fresh episodes: the search front and its near misses.

    The sparsest of many snapshots that scored well in a few episodes is usually just the luckiest, and
    hides better ones. Therefore the logarithmic density axis is cut into `limit` × 2/3 bands, and the
    best snapshot of each is taken, by an optimistic return: mean plus `optimism` standard errors. The
    remaining places are filled in layers: first the non-dominated of the other snapshots, then those
    dominated only by them, and so on; from a layer that doesn't fit, the snapshots farthest from those
    already taken. Snapshots that a sparser one clearly beats – by `CLEARLY` standard errors of both –
    are left out.

    Means are smoothed: the neighbours of a snapshot in its member's training count half if their density
    is nearly the same. Variances are averaged with the archive's mean variance, which weighs as much as
    two episodes, because even five episodes that all reached the cap prove little.

    Args:
        snapshots: Snapshots of the archive; those that failed, are infeasible or have no policy on disk
            are left out.
        limit: Largest number of snapshots to return, ≥ 1.
        floor: Mean return of the better of random and constant action on the same episodes; snapshots
            that don't exceed it are left out.
        optimism: Number of standard errors added to the mean.

    Returns:
        At most `limit` snapshots, the densest first.
    """
    pool = [
        s
        for s in snapshots
        if s.usable and s.status == "ok" and s.checkpoint and s.return_mean > floor
    ]
    if not pool or limit < 1:
        return []
    sparsity = np.array([s.sparsity for s in pool])
    decades = log_density(sparsity, [s.total_params for s in pool])
    mean, error = _steadied(pool, decades), _standard_errors(pool)
    bound = mean + optimism * error
    left = np.flatnonzero(~_beaten(sparsity, mean - CLEARLY * error, mean + CLEARLY * error))
    band = _bands(decades, left, math.ceil(limit * 2 / 3))
    # Best first; of equal snapshots, the sparser one.
    order = left[np.lexsort((-sparsity[left], -bound[left]))]
    _, first = np.unique(band[order], return_index=True)
    taken = [int(i) for i in order[first]]
    left = np.setdiff1d(left, taken)
    points = np.column_stack([bound, sparsity])
    while left.size and len(taken) < limit:
        layer = nondominated(points[left])
        best = left[layer][np.argsort(-bound[left][layer], kind="stable")]
        taken += _farthest(np.column_stack([bound, decades]), best, taken, limit - len(taken))
        left = left[~layer]
    return [pool[i] for i in sorted(taken, key=lambda i: (sparsity[i], i))]


def _steadied(pool: Sequence[Snapshot], decades: Floats) -> Floats:
    """Returns mean returns, averaged with the neighbours in the member's training."""
    mean = np.array([s.return_mean for s in pool], dtype=np.float64)
    member = np.array([s.member for s in pool])
    weight, total = np.ones(len(pool)), mean.copy()
    order = np.argsort(member, kind="stable")
    here, there = order[:-1], order[1:]
    near = (member[here] == member[there]) & (np.abs(decades[here] - decades[there]) < NEARLY)
    here, there = here[near], there[near]
    for one, other in ((here, there), (there, here)):
        total[one] += 0.5 * mean[other]
        weight[one] += 0.5
    return np.asarray(total / weight)


def _standard_errors(pool: Sequence[Snapshot]) -> Floats:
    episodes = np.maximum([s.episodes for s in pool], 1).astype(np.float64)
    variance = np.nan_to_num(np.array([s.return_std for s in pool]) ** 2)
    shared = 2.0 * variance.mean()
    return np.asarray(np.sqrt((shared + (episodes - 1) * variance) / (episodes + 1) / episodes))


def _beaten(sparsity: Floats, low: Floats, high: Floats) -> Bools:
    """Marks policies whose high end is below the low end of a sparser policy."""
    order = np.argsort(-sparsity, kind="stable")
    best = np.r_[-np.inf, np.maximum.accumulate(low[order])[:-1]]
    beaten = np.zeros(len(sparsity), dtype=bool)
    beaten[order] = best > high[order]
    return beaten


def _farthest(
    points: Floats, among: NDArray[np.int64], taken: Sequence[int], count: int
) -> list[int]:
    """Chooses `count` points one by one, each the farthest from all points taken so far.

    Distances are in shares of each coordinate's range. Ties go to the first point in `among`.
    """
    if len(among) <= count:
        return [int(i) for i in among]
    unit = points / np.maximum(np.ptp(points, axis=0), 1e-12)
    gap = np.full(len(among), np.inf)
    for i in taken:
        gap = np.minimum(gap, np.linalg.norm(unit[among] - unit[i], axis=1))
    chosen: list[int] = []
    for _ in range(count):
        at = int(np.argmax(gap))
        chosen.append(int(among[at]))
        gap = np.minimum(gap, np.linalg.norm(unit[among] - unit[among[at]], axis=1))
        gap[at] = -np.inf
    return chosen


def _bands(decades: Floats, among: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Returns the band of each policy: `count` equal parts of the range of decades in `among`."""
    low, high = decades[among].min(), decades[among].max()
    share = (decades - low) / max(high - low, 1e-12)
    return np.asarray(np.clip(share * count, 0, count - 1), dtype=np.int64)
