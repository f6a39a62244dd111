"""Whether a policy fulfils the goal of a search, which one does best, and which one comes nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from search.config.goal import GoalSettings
from search.front.retained import Floats


def goal_of(values: Mapping[str, Any]) -> GoalSettings:
    """The goal of a configuration's plain values; none where there is none that can be read."""
    try:
        return GoalSettings.model_validate(values.get("goal") or {})
    except ValidationError:
        return GoalSettings()


def shortfall(goal: GoalSettings, weights: ArrayLike, kept: ArrayLike) -> Floats:
    """How far policies are from a goal: decades of weights too many, plus retained too little.

    Args:
        goal: The goal.
        weights: Non-zero weights of each policy, shape (n,).
        kept: What each retains, shape (n,); NaN where that is unknown.

    Returns:
        Shape (n,): 0 where the goal is met; infinite where what a policy retains counts and is unknown.
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
    """Which point of a front fulfils a goal best.

    Args:
        goal: The goal.
        weights: Non-zero weights of each point, the densest first, so the best return first too.
        kept: What each retains.

    Returns:
        The sparsest that keeps what is asked for, or, where only weights are limited, the one with the
        best return; None: no point meets the goal, or there is no goal.
    """
    met = np.flatnonzero(shortfall(goal, weights, kept) == 0.0)
    if not goal.given or not met.size:
        return None
    return int(met[0] if goal.min_retained is None else met[-1])


def nearest_to_goal(goal: GoalSettings, weights: ArrayLike, kept: ArrayLike) -> int | None:
    """Which point comes nearest to a goal; None: what counts is unknown of all, or there is none."""
    lacks = shortfall(goal, weights, kept)
    if not goal.given or not np.isfinite(lacks).any():
        return None
    return int(np.argmin(lacks))
