"""Empirical attainment surfaces: returns that repeated searches reach with a limit on weights."""

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
    """Returns the return that a search attains with at most a given number of weights.

    Of the front points that are small enough, the one with the best selection score is taken, with its
    report score. The best report score would be too high, because choosing by it favours lucky points.

    Args:
        weights: Non-zero weights of each front point, shape (n,).
        chosen_by: Mean return of each point over selection episodes, shape (n,).
        returns: Mean return of each point over report episodes, shape (n,).
        at: Numbers of weights to evaluate at, shape (k,).
        floor: Return without any network: the better of random and constant action.

    Returns:
        Shape (k,); the floor where no point is small enough.
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
    """Returns the median attainment with quartiles, or with the extremes for fewer than four searches.

    Args:
        fronts: Group and front of each search, with columns "weights", "selection_return" and
            "return_mean".
        scale: Scale whose floor is attained without any weights.

    Returns:
        Table with columns `group, weights, low, median, high`, for groups of two or more searches.
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
