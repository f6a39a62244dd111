"""What repeats of a search attain with at most so many weights: empirical attainment surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.front.retained import Scale

Floats = NDArray[np.float64]


def attained(
    weights: Floats, chosen_by: Floats, returns: Floats, at: Floats, floor: float
) -> Floats:
    """What a search attains with at most so many weights; the floor where it has no such point.

    The one of the front points that fit that selection episodes rate best, with its report score. The
    best report score among those that fit would be the luckiest: too high by what choosing adds.

    Args:
        weights: Non-zero weights of each front point.
        chosen_by: Their mean returns over selection episodes.
        returns: Their mean returns over report episodes.
        at: Numbers of weights that are asked about.
        floor: What needs no network: the return of random or constant action.
    """
    if not len(weights):
        return np.full(len(at), floor)
    fits = weights[None, :] <= at[:, None]
    best = np.where(fits, chosen_by[None, :], -np.inf).argmax(axis=1)
    return np.where(fits.any(axis=1), returns[best], floor)


def _attained_by(front: pd.DataFrame, at: Floats, floor: float) -> Floats:
    weights, chosen_by, returns = (
        front[name].to_numpy(float) for name in ("weights", "selection_return", "return_mean")
    )
    return attained(weights, chosen_by, returns, at, floor)


def bands_of(fronts: Sequence[tuple[str, pd.DataFrame]], scale: Scale) -> pd.DataFrame:
    """Median attainment with quartiles, or with both extremes below four searches.

    Args:
        fronts: Of each search, its group and its front: "weights", "selection_return", "return_mean".
        scale: Its floor is what is attained without any weights.

    Returns:
        `group, weights, low, median, high`, of groups of two searches or more.
    """
    lowest = min(front["return_mean"].min() for _, front in fronts if len(front))
    floor = scale.floor if math.isfinite(scale.floor) else float(lowest)
    parts = []
    for name in dict.fromkeys(name for name, _ in fronts):
        own = [front for group, front in fronts if group == name]
        at = np.unique(np.concatenate([front["weights"].to_numpy(float) for front in own]))
        if len(own) < 2 or not len(at):
            continue
        reached = np.array([_attained_by(front, at, floor) for front in own])
        levels = [0.25, 0.5, 0.75] if len(own) >= 4 else [0.0, 0.5, 1.0]
        low, median, high = np.quantile(reached, levels, axis=0)
        parts.append(
            pd.DataFrame({"group": name, "weights": at, "low": low, "median": median, "high": high})
        )
    columns = ["group", "weights", "low", "median", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
