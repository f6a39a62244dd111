"""Figures with their 95 % intervals."""

from __future__ import annotations

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
