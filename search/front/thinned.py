"""Thins long tables for plots, where more points than can be seen only increase the size."""

from __future__ import annotations

import numpy as np

# Largest number of points of a curve.
CURVE = 2000


def thinned(count: int, limit: int) -> list[int]:
    """Returns indices of at most `limit` of `count` rows, evenly spaced, including first and last."""
    if count <= limit:
        return list(range(count))
    return sorted({int(i) for i in np.linspace(0, count - 1, limit).round()})
