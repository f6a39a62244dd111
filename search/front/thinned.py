"""Long tables, thinned: more points than a picture can show make it heavy and no clearer."""

from __future__ import annotations

import numpy as np

# Points of a curve.
CURVE = 2000


def thinned(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` of `count` rows, evenly spread, first and last among them."""
    if count <= limit:
        return list(range(count))
    return sorted({int(i) for i in np.linspace(0, count - 1, limit).round()})
