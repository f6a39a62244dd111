"""The front: who is not dominated, how much it covers, where it bends, who is worth another look.

A point is (return, sparsity); both are maximised. Numpy only, so that a running search and a report
share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.store.archive import Snapshot

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Standard errors of both by which one snapshot clearly beats another.
CLEARLY = 2.0
# Decades of density within which neighbours in training are nearly the same policy.
NEARLY = 0.1
# Points compared with the front at once.
BLOCK = 512


def nondominated(points: ArrayLike) -> Bools:
    """Which points no other point dominates, in O(n log n).

    A point dominates another where it is at least as good in both coordinates and better in one. Equal
    points don't dominate each other: all of them count. A point that isn't finite never counts.

    Args:
        points: Shape (n, 2); both coordinates are maximised.

    Returns:
        Shape (n,).
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    found = np.zeros(len(array), dtype=bool)
    finite = np.flatnonzero(np.isfinite(array).all(axis=1))
    if not finite.size:
        return found
    x, y = array[finite, 0], array[finite, 1]
    order = np.lexsort((-y, -x))
    x, y = x[order], y[order]
    # The first of each group of equal x is the group's best; what beat it must have a greater x.
    starts = np.r_[True, x[1:] != x[:-1]]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(x)), 0))
    best_before = np.r_[-np.inf, np.maximum.accumulate(y)[:-1]][first]
    found[finite[order]] = (y == y[first]) & (y > best_before)
    return found


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> float:
    """Area that the points dominate above a reference point.

    Args:
        points: Shape (n, 2); both coordinates are maximised. What doesn't exceed the reference in both
            coordinates adds nothing.
        reference: The lower left corner of the area. Fix it before the search and state it.

    Returns:
        The area, ≥ 0.
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2) - np.asarray(reference)
    array = array[nondominated(array) & (array > 0).all(axis=1)]
    array = np.unique(array, axis=0)
    left = np.r_[0.0, array[:-1, 0]] if len(array) else array[:, 0]
    return float(((array[:, 0] - left) * array[:, 1]).sum())


def hypervolume_history(points: ArrayLike, reference: tuple[float, float]) -> Floats:
    """The hypervolume of the first 1, 2, … n points.

    Args:
        points: Shape (points, 2), both to be maximised, in the order in which they were found.
        reference: The point from which volumes are measured.

    Returns:
        Shape (n,), never falling.
    """
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    gains = np.zeros(len(array))
    inside = np.flatnonzero(np.isfinite(array).all(axis=1) & (array > reference).all(axis=1))
    front = np.empty((0, 2))
    area = 0.0
    for start in range(0, len(inside), BLOCK):
        block = inside[start : start + BLOCK]
        # Most points of a long search are dominated by what was found before: one comparison for all.
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
    """−log10 of the density: 0 for a dense policy, log10(n) for one weight of n.

    Args:
        sparsity: In [0, 1].
        total: Prunable weights n; a density below 1/n counts as 1/n.

    Returns:
        Decades of density, ≥ 0.
    """
    floor = 1.0 / np.maximum(np.asarray(total, dtype=np.float64), 1.0)
    density = np.clip(1.0 - np.asarray(sparsity, dtype=np.float64), floor, 1.0)
    return np.asarray(0.0 - np.log10(density), dtype=np.float64)


def knee(returns: ArrayLike, decades: ArrayLike) -> int | None:
    """Where a front bends: the last sparsity before the return begins to fall fast.

    Both coordinates are scaled to [0, 1] over the front; the knee is the point farthest above the chord
    between the two ends (Das 1999; "Kneedle", Satopää et al. 2011). Retained and mean return give the
    same point, because one is a linear function of the other.

    Args:
        returns: Mean return or retained of each front point, shape (n,).
        decades: `log_density` of each, shape (n,).

    Returns:
        Its index; None where no point lies above the chord or a coordinate doesn't vary.
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
    """The snapshots that deserve fresh episodes: the search front and its near misses.

    The sparsest of many snapshots that scored well in a few episodes is mostly the luckiest, and hides
    the good ones behind it. So the logarithmic density axis is cut into `limit` × 2/3 bands. Each band
    gives its best snapshot by an optimistic return: mean plus `optimism` standard errors. The other
    places go to the rest in layers: the non-dominated ones first, then those that only these dominate;
    where a layer does not fit, those that lie farthest from what is taken.
    What a sparser snapshot clearly beats – by `CLEARLY` standard errors of both – is left out.

    Means are steadied: a snapshot's neighbours in its member's training, where their density is nearly
    its own, count half. Standard deviations are averaged with the archive's, which weighs as much as two
    episodes: five episodes that all reached the cap are no proof.

    Args:
        snapshots: The archive. What failed, is infeasible or has no policy on disk is left out.
        limit: At most so many are returned, ≥ 1.
        floor: Mean return of the better of random and constant action on the same episodes; a snapshot
            that isn't above it is left out.
        optimism: Standard errors added to the mean.

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
    # Best first, the sparser of equals.
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
    """Mean returns, averaged with the neighbours in the member's training."""
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
    """Where a sparser policy's low end is above a policy's high end."""
    order = np.argsort(-sparsity, kind="stable")
    best = np.r_[-np.inf, np.maximum.accumulate(low[order])[:-1]]
    beaten = np.zeros(len(sparsity), dtype=bool)
    beaten[order] = best > high[order]
    return beaten


def _farthest(
    points: Floats, among: NDArray[np.int64], taken: Sequence[int], count: int
) -> list[int]:
    """Chooses `count` of some points one by one: the one farthest from all that are taken already.

    Distances are in shares of each coordinate's range. Of equals the first in `among`.
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
    """The band of each policy: `count` equal parts of the decades that are still in question."""
    low, high = decades[among].min(), decades[among].max()
    share = (decades - low) / max(high - low, 1e-12)
    return np.asarray(np.clip(share * count, 0, count - 1), dtype=np.int64)
