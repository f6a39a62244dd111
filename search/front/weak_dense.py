"""Detects a weak dense baseline: keeping 95 % of it means little if pruned members far exceed it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from search.front.membership import scale_from, usable
from search.store.archive import Baseline, Evaluation

# Retained share of a member from which the dense baseline counts as not fully trained.
WEAK = 1.1
# Standard errors of a difference beyond which it doesn't count as chance.
_SURE = 2.0


def dense_is_weak(
    points: Iterable[str], evaluations: Iterable[Evaluation], baselines: Mapping[str, Baseline]
) -> bool:
    """Whether the best pruned policy is far and significantly above the dense baseline.

    Args:
        points: `snapshot_id` of the front's policies.
        evaluations: Evaluations with fresh episodes; only those on selection seeds are used.
        baselines: Baselines by name.
    """
    fresh = usable(evaluations, "selection")
    members = [fresh[name] for name in points if name in fresh]
    scale, dense = scale_from(fresh, baselines), fresh.get("dense")
    if scale.note or dense is None or not members:
        return False
    best = max(members, key=lambda evaluation: float(np.mean(evaluation.returns)))
    apart = float(np.mean(best.returns) - np.mean(dense.returns))
    error = math.hypot(_standard_error(best), _standard_error(dense))
    return float(scale.retained([np.mean(best.returns)])[0]) >= WEAK and apart > _SURE * error


def _standard_error(evaluation: Evaluation) -> float:
    returns = np.asarray(evaluation.returns, dtype=np.float64)
    return float(returns.std(ddof=1) / math.sqrt(len(returns))) if len(returns) > 1 else math.inf
