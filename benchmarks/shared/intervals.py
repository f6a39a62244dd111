"""Estimates with their 95 % intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats


def median_ratio(
    numerator: ArrayLike, denominator: ArrayLike, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Returns the median of paired ratios with its 95 % bootstrap interval, pairs resampled.

    Args:
        numerator: One value per pair.
        denominator: One value per pair.
        generator: Random generator for the resampling.

    Returns:
        The median, and the interval's ends.
    """
    ratios = np.asarray(numerator) / np.asarray(denominator)
    drawn = generator.integers(0, len(ratios), (10_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def mean_difference(one: ArrayLike, other: ArrayLike) -> tuple[float, float, float]:
    """Returns the mean of one sample less that of another, with Welch's 95 % interval.

    Args:
        one: At least two values.
        other: At least two values; the samples may differ in size and variance.

    Returns:
        The difference, and the interval's ends; these are NaN if neither sample varies, because an
        interval of no width would claim certainty.
    """
    difference = float(np.mean(one) - np.mean(other))
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return difference, np.nan, np.nan
    squares = np.array([np.var(x, ddof=1) / np.size(x) for x in (one, other)])
    each = np.array([np.size(x) - 1 for x in (one, other)])
    freedom = squares.sum() ** 2 / (squares**2 / each).sum()
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(squares.sum()))
    return difference, difference - reach, difference + reach


def smallest_visible(
    deviation: float, pairs: int, *, confidence: float = 0.95, power: float = 0.8
) -> float:
    """Returns the true difference that a two-sided paired t test detects with probability `power`.

    Args:
        deviation: Standard deviation of the paired differences.
        pairs: Number of pairs.
        confidence: 1 − the level of the test, in (0, 1).
        power: Probability of detection, in (1 − confidence, 1).

    Returns:
        A difference ≥ 0; NaN with fewer than two pairs.
    """
    if pairs < 2 or not np.isfinite(deviation):
        return math.nan
    freedom = pairs - 1
    bound = stats.t.ppf(1.0 - (1.0 - confidence) / 2.0, freedom)

    def missing(shift: float) -> float:
        return float(stats.nct.sf(bound, freedom, shift) - power)

    high = bound
    while missing(high) < 0.0:
        high += 0.5
    shift = optimize.brentq(missing, 0.0, high)
    return float(shift * deviation / np.sqrt(pairs))


def paired_comparisons(
    differences: Sequence[np.ndarray], confidence: float
) -> list[tuple[float, float, float]]:
    """Returns paired t intervals and p values of m comparisons, valid for all of them together.

    Intervals are Bonferroni's, each of level 1 − (1 − c) ÷ m; p values are corrected by Holm's method
    (1979). Holm's test has no simple two-sided intervals of its own: intervals that narrow with the rank
    of p contain all true differences less often than c claims. His test is more powerful, so p can be
    below 1 − c where the interval still contains 0, but never the other way round.

    Args:
        differences: For each comparison, one difference per search seed.
        confidence: c, in (0, 1), for all comparisons together.

    Returns:
        For each comparison the low end, the high end and the corrected p value; NaN with fewer than two
        seeds, or if the differences don't vary.
    """
    count = len(differences)
    raw = np.full(count, np.nan)
    ends = np.full((count, 2), np.nan)
    for i, d in enumerate(differences):
        if len(d) < 2 or np.ptp(d) == 0:
            continue
        freedom, error = len(d) - 1, np.std(d, ddof=1) / np.sqrt(len(d))
        raw[i] = 2.0 * stats.t.sf(abs(d.mean()) / error, freedom)
        reach = stats.t.ppf(1.0 - (1.0 - confidence) / (2 * count), freedom) * error
        ends[i] = d.mean() - reach, d.mean() + reach
    # Comparisons without a p value come last, but are counted all the same.
    order = np.argsort(raw, kind="stable")
    corrected = np.full(count, np.nan)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(count, 0, -1)))
    return [(float(a), float(b), float(p)) for (a, b), p in zip(ends, corrected, strict=True)]
