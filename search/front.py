"""The front: who is not dominated, how much it covers, where it bends, who is worth another look.

A point is (return, sparsity); both are maximised. Numpy only, so that a running search and a report
share it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.archive import Snapshot

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Normal quantile of a two-sided 95 % interval.
Z95 = 1.959964
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
        points: As for `hypervolume`, in the order in which they were found.
        reference: As for `hypervolume`.

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
        covered = (front[None] >= array[block][:, None]).all(axis=2).any(axis=1)
        for i in block[~covered]:
            if (front >= array[i]).all(axis=1).any():
                continue
            front = np.vstack([front[~(front <= array[i]).all(axis=1)], array[i]])
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


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a return is measured on: 0 is the random policy, 1 the dense one.

    Attributes:
        random: Mean return of the random policy.
        dense: Mean return of the dense baseline.
        floor: Mean return of the better of random and constant action: what is no better is infeasible.
        note: Why `retained` is NaN; "" where it is a number.
    """

    random: float = math.nan
    dense: float = math.nan
    floor: float = -math.inf
    note: str = ""

    def retained(self, returns: ArrayLike) -> Floats:
        """(R − R_random) ÷ (R_dense − R_random), or NaN where `note` says why."""
        if self.note:
            return np.full(np.shape(returns), np.nan)
        return retained(returns, self.random, self.dense)

    @property
    def retained_floor(self) -> float:
        """`retained` of the better of random and constant action: the hypervolume's reference."""
        return float(self.retained(self.floor))


def retained(returns: ArrayLike, random: float, dense: float) -> Floats:
    """Share of the dense policy's gain over a random one that a policy keeps.

    Args:
        returns: Mean returns R.
        random: Mean return of the random policy.
        dense: Mean return of the dense policy.

    Returns:
        (R − R_random) ÷ (R_dense − R_random); NaN unless the dense policy is the better one.
    """
    values = np.asarray(returns, dtype=np.float64)
    if not dense > random:
        return np.full(values.shape, np.nan)
    return np.asarray((values - random) / (dense - random), dtype=np.float64)


def scale_of(
    random: Sequence[float] | Floats,
    dense: Sequence[float] | Floats,
    constant: Sequence[float] | Floats = (),
) -> Scale:
    """The scale that episodes of the baselines give.

    The dense baseline is clearly above random where the 95 % interval of the difference of their means
    (Welch) lies above 0.

    Args:
        random: Returns of the random policy's episodes; empty where it wasn't evaluated.
        dense: Returns of the dense baseline's.
        constant: Returns of the best constant action's.
    """
    r, d, c = (np.asarray(v, dtype=np.float64) for v in (random, dense, constant))
    means = [float(v.mean()) if v.size else math.nan for v in (r, d)]
    floors = [float(v.mean()) for v in (r, c) if v.size]
    scale = Scale(means[0], means[1], max(floors, default=-math.inf))
    missing = [name for name, v in (("random", r), ("dense", d)) if not v.size]
    if missing:
        note = f"retained is unknown: the {' and the '.join(missing)} baseline has no episodes"
        return dataclasses.replace(scale, note=note)
    error = math.sqrt(sum(v.var(ddof=1) / v.size for v in (r, d) if v.size > 1))
    if not means[1] - means[0] > Z95 * error:
        note = (
            f"retained is undefined: the dense baseline ({means[1]:.4g}) is not clearly above the "
            f"random policy ({means[0]:.4g}). Train it for longer, or mend its configuration"
        )
        return dataclasses.replace(scale, note=note)
    return scale


def candidates(
    snapshots: Sequence[Snapshot],
    limit: int,
    *,
    floor: float = -math.inf,
    optimism: float = 1.0,
) -> list[Snapshot]:
    """The snapshots that deserve fresh episodes: the search front and its near misses.

    Each snapshot gets an optimistic return: its mean plus `optimism` standard errors. Snapshots are
    taken in layers – the non-dominated ones, then those that only the first layer dominates, and so
    on – until `limit` is reached. Of the layer that doesn't fit, those farthest from what is already
    taken on a logarithmic density axis are chosen, so that the cap thins crowds and not ends.

    A standard deviation from few episodes is unsure, so each is averaged with the archive's, which
    weighs as much as two episodes: five episodes that all reached the cap are no proof.

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
    bound = np.array([s.return_mean for s in pool]) + optimism * _standard_errors(pool)
    points = np.column_stack([bound, sparsity])
    left = np.arange(len(pool))
    taken: list[int] = []
    while left.size and len(taken) < limit:
        on_layer = nondominated(points[left])
        if not on_layer.any():
            break
        taken += _spread(decades, left[on_layer], taken, limit - len(taken))
        left = left[~on_layer]
    return [pool[i] for i in sorted(taken, key=lambda i: (sparsity[i], i))]


def _standard_errors(pool: Sequence[Snapshot]) -> Floats:
    episodes = np.maximum([s.episodes for s in pool], 1).astype(np.float64)
    variance = np.nan_to_num(np.array([s.return_std for s in pool]) ** 2)
    shared = 2.0 * variance.mean()
    return np.asarray(np.sqrt((shared + (episodes - 1) * variance) / (episodes + 1) / episodes))


def _spread(decades: Floats, layer: NDArray[np.int64], taken: list[int], count: int) -> list[int]:
    """At most `count` of a layer, each the farthest from those taken before it."""
    if layer.size <= count:
        return [int(i) for i in layer]
    x = decades[layer]
    chosen: list[int] = []
    distance = np.full(layer.size, np.inf)
    for i in taken:
        distance = np.minimum(distance, np.abs(x - decades[i]))
    if not taken:
        distance = x - x.min() + 1.0  # the sparsest opens
    for _ in range(count):
        i = int(np.argmax(distance))
        chosen.append(int(layer[i]))
        step = np.abs(x - x[i])
        distance = step if not taken and len(chosen) == 1 else np.minimum(distance, step)
        distance[i] = -1.0
    return chosen
