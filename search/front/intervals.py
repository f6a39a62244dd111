"""Intervals from resampled episodes, paired by seed.

Policies that played the same seeds are resampled together: an episode's start is easy or hard for all of
them, so their differences are surer than each mean alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.store.archive import Evaluation

Floats = NDArray[np.float64]

RESAMPLES = 4000
# Fewer runs give no interval: resampling two of them says nothing.
FEWEST = 3


def resampled_means(
    evaluations: Sequence[Evaluation], rng: np.random.Generator, resamples: int = RESAMPLES
) -> Floats:
    """Mean returns over seeds drawn with replacement, the same draws for all with the same seeds.

    Args:
        evaluations: One a policy, each with at least one episode.
        rng: Where the draws come from.
        resamples: How many.

    Returns:
        Shape (resamples, policies).
    """
    counts: dict[tuple[int, ...], Floats] = {}
    means = np.empty((resamples, len(evaluations)))
    for i, evaluation in enumerate(evaluations):
        seeds = tuple(evaluation.seeds)
        n = len(evaluation.returns)
        if seeds not in counts:
            drawn = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples)
            counts[seeds] = drawn.astype(np.float64)
        # Divided last: sums of whole numbers are exact, and so resamples that tie are equal.
        # What one policy returned may hold infinities.
        with np.errstate(invalid="ignore"):
            means[:, i] = counts[seeds] @ np.asarray(evaluation.returns, dtype=np.float64) / n
    return means


def interval(returns: Sequence[float] | Floats, means: Floats) -> tuple[float, float]:
    """A 95 % interval of a mean: the bootstrap's bias-corrected and accelerated one.

    Efron 1987 (BCa), with the normal quantile widened as Student's t is for few episodes (Hesterberg
    2015). In simulations of 100 episodes it covers normal, exponential and capped returns at 93–96 %.

    Args:
        returns: The episodes' returns.
        means: Their resampled means, shape (resamples,).

    Returns:
        Low and high; NaN where the episodes don't vary or there is only one: an interval of no width
        would claim certainty. NaN too where one returned no number.
    """
    x = np.asarray(returns, dtype=np.float64)
    n = len(x)
    if n < 2 or not np.isfinite(x).all() or np.ptp(x) == 0:
        return np.nan, np.nan
    normal = NormalDist()
    # Where few returns differ many resamples tie with the mean, but for rounding.
    tied = np.isclose(means, x.mean(), rtol=0.0, atol=1e-9 * np.ptp(x))
    below = (~tied & (means < x.mean())).mean() + 0.5 * tied.mean()
    bias = normal.inv_cdf(float(np.clip(below, 1e-4, 1 - 1e-4)))
    deviation = x - x.mean()
    acceleration = (deviation**3).sum() / (6.0 * (deviation**2).sum() ** 1.5)
    # Cornish–Fisher's first term of Student's t, times the bootstrap's own factor for few episodes.
    z = 1.959964 * (1 + (1.959964**2 + 1) / (4 * (n - 1))) * np.sqrt(n / (n - 1))
    levels = [
        normal.cdf(bias + (bias + q) / max(1e-6, 1 - acceleration * (bias + q))) for q in (-z, z)
    ]
    low, high = np.quantile(means, levels)
    return float(low), float(high)


def no_interval_note(returns: Sequence[float] | Floats) -> str:
    """Why a mean has no interval; "" where it has one.

    n equal episodes still leave room: with 95 % confidence fewer than 1 − 0.05^(1/n) of all episodes
    differ.
    """
    x = np.asarray(returns, dtype=np.float64)
    if len(x) < 2:
        return "one episode: no interval"
    if odd := int((~np.isfinite(x)).sum()):
        return f"{odd:,} of {len(x)} episodes returned no number: no interval"
    if np.ptp(x) > 0:
        return ""
    share = 1.0 - 0.05 ** (1.0 / len(x))
    return (
        f"all {len(x)} episodes returned {x[0]:g}: no interval; "
        f"up to {share:.1%} of episodes may differ (95 %)"
    )


def probability_nondominated(means: Floats, sparsity: Floats, floor: Floats) -> Floats:
    """Share of resamples in which a policy is on the front.

    Args:
        means: Resampled mean returns, shape (resamples, policies).
        sparsity: The sparsity of each policy, shape (policies,).
        floor: Return that a policy must exceed in each resample, shape (resamples,).

    Returns:
        Shape (policies,), in [0, 1].
    """
    chance = np.empty(len(sparsity))
    for i, own in enumerate(sparsity):
        beaten = means[:, i] <= floor
        sparser, equal = means[:, sparsity > own], means[:, sparsity == own]
        if sparser.shape[1]:
            beaten |= sparser.max(axis=1) >= means[:, i]
        beaten |= equal.max(axis=1) > means[:, i]
        chance[i] = 1.0 - beaten.mean()
    return chance


def interquartile_mean(values: ArrayLike) -> Floats:
    """Mean of what is left when a quarter, rounded down, is cut from each end of the last axis."""
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = x.shape[-1] // 4
    return np.asarray(x[..., cut : x.shape[-1] - cut].mean(axis=-1))


def interquartile_interval(values: ArrayLike, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % interval of the interquartile mean of whole runs, which are resampled.

    A percentile interval; with few runs it is too narrow rather than too wide.

    Args:
        values: One a run.
        rng: Where the draws come from.

    Returns:
        Low and high; NaN below `FEWEST` runs, where one isn't finite, and where they don't vary.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < FEWEST or not np.isfinite(x).all() or np.ptp(x) == 0:
        return np.nan, np.nan
    drawn = x[rng.integers(len(x), size=(RESAMPLES, len(x)))]
    low, high = np.quantile(interquartile_mean(drawn), [0.025, 0.975])
    return float(low), float(high)
