"""Whether the dense baseline is a measure: keeping 95 % of one that members leave behind says little."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from search.front.membership import scale_from, usable
from search.store.archive import Baseline, Evaluation

# Members that keep as much of the dense policy's gain show that it was not trained to its end.
WEAK = 1.1
# Standard errors of a difference beyond which it isn't chance.
_SURE = 2.0


def dense_is_weak(
    points: Iterable[str], evaluations: Iterable[Evaluation], baselines: Mapping[str, Baseline]
) -> bool:
    """Whether the best of pruned policies is far and surely above the dense baseline.

    Args:
        points: The front's policies, by `snapshot_id`.
        evaluations: Fresh episodes; those on selection seeds count.
        baselines: By name.
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
