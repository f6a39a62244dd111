"""Compares policies with the goal of a search: the shortfall, the best match and the nearest policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from search.config.goal import GoalSettings
from search.front.retained import Floats


def goal_of(values: Mapping[str, Any]) -> GoalSettings:
    """Returns the goal in a configuration's plain values; no goal if there is none or it is invalid."""
    try:
        return GoalSettings.model_validate(values.get("goal") or {})
    except ValidationError:
        return GoalSettings()


def shortfall(goal: GoalSettings, weights: ArrayLike, kept: ArrayLike) -> Floats:
    """Returns how far policies miss a goal: excess weights in decades plus the missing retained share.

    Args:
        goal: The goal.
        weights: Non-zero weights of each policy, shape (n,).
        kept: Retained share of each policy, shape (n,); NaN if unknown.

    Returns:
        Shape (n,): 0 if the goal is met; infinite if the goal limits the retained share and it is
        unknown.
    """
    counts = np.maximum(np.asarray(weights, dtype=np.float64), 1.0)
    lacks = np.zeros(counts.shape)
    if goal.max_weights is not None:
        lacks += np.maximum(np.log10(counts / goal.max_weights), 0.0)
    if goal.min_retained is not None:
        less = np.maximum(goal.min_retained - np.asarray(kept, dtype=np.float64), 0.0)
        lacks += np.where(np.isnan(less), np.inf, less)
    return lacks


def goal_pick(goal: GoalSettings, weights: ArrayLike, kept: ArrayLike) -> int | None:
    """Returns the index of the front point that fulfils a goal best.

    Args:
        goal: The goal.
        weights: Non-zero weights of each point, the densest first, which also has the best return.
        kept: Retained share of each point.

    Returns:
        Index of the sparsest point that meets the goal; if the goal limits only the weights, of the
        point with the best return. None if no point meets the goal or there is no goal.
    """
    met = np.flatnonzero(shortfall(goal, weights, kept) == 0.0)
    if not goal.given or not met.size:
        return None
    return int(met[0] if goal.min_retained is None else met[-1])


def nearest_to_goal(goal: GoalSettings, weights: ArrayLike, kept: ArrayLike) -> int | None:
    """Returns the index of the point nearest to a goal; None without a goal or any known distance."""
    lacks = shortfall(goal, weights, kept)
    if not goal.given or not np.isfinite(lacks).any():
        return None
    return int(np.argmin(lacks))
