"""Figures with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def median_ratio(
    numerator: ArrayLike, denominator: ArrayLike, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Median of the paired ratios with its 95 % bootstrap interval, pairs resampled.

    Args:
        numerator: One value a pair.
        denominator: As many.
        generator: Draws the pairs.

    Returns:
        The median, and the interval's ends.
    """
    ratios = np.asarray(numerator) / np.asarray(denominator)
    drawn = generator.integers(0, len(ratios), (10_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def mean_difference(one: ArrayLike, other: ArrayLike) -> tuple[float, float, float]:
    """Mean of one sample less that of another, with Welch's 95 % interval.

    Args:
        one: At least two values.
        other: At least two; the samples may differ in size and variance.

    Returns:
        The difference, and the interval's ends.
    """
    difference = float(np.mean(one) - np.mean(other))
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return difference, difference, difference
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    return difference, float(interval.low), float(interval.high)


def holm_intervals(
    differences: Sequence[np.ndarray], confidence: float
) -> list[tuple[float, float, float]]:
    """Paired t intervals and p values of several comparisons, corrected after Holm (1979).

    The comparison of rank k of m, by rising p value, gets the interval of level
    1 − (1 − c) ÷ (m − k + 1).

    Args:
        differences: Of each comparison one number a search seed.
        confidence: c, in (0, 1), for all comparisons together.

    Returns:
        For each comparison low end, high end and corrected p value; NaN with fewer than two seeds.
    """
    raw = [
        float(stats.ttest_1samp(d, 0.0).pvalue) if len(d) > 1 and np.ptp(d) > 0 else np.nan
        for d in differences
    ]
    order = np.argsort(np.nan_to_num(raw, nan=2.0), kind="stable")
    found = [(np.nan, np.nan, np.nan)] * len(differences)
    largest = 0.0
    for position, i in enumerate(order):
        if np.isnan(raw[i]):
            continue
        left, d = len(differences) - position, differences[i]
        largest = max(largest, min(1.0, raw[i] * left))
        width = stats.t.ppf(1.0 - (1.0 - confidence) / (2 * left), len(d) - 1)
        reach = width * np.std(d, ddof=1) / np.sqrt(len(d))
        found[i] = float(d.mean() - reach), float(d.mean() + reach), largest
    return found
