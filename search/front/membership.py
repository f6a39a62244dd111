"""Decides front membership and picks from selection episodes alone; computes no figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from search.config.goal import NO_GOAL, GoalSettings
from search.front.goal import goal_pick
from search.front.intervals import Floats
from search.front.pareto import knee, log_density, nondominated
from search.front.retained import Scale, scale_of
from search.store.archive import Baseline, Evaluation, Purpose, Snapshot

KEEPS = {"keeps_95": 0.95, "keeps_99": 0.99}


def is_usable(evaluation: Evaluation) -> bool:
    """Whether an evaluation has episodes, all with a finite return."""
    return bool(evaluation.returns) and bool(np.isfinite(evaluation.returns).all())


def usable(evaluations: Iterable[Evaluation], purpose: Purpose) -> dict[str, Evaluation]:
    """Returns the usable evaluations of one purpose, by `snapshot_id` or baseline name."""
    return {e.snapshot_id: e for e in evaluations if e.purpose == purpose and is_usable(e)}


def scale_from(episodes: Mapping[str, Evaluation], baselines: Mapping[str, Baseline]) -> Scale:
    """Returns the scale on one set of seeds; a baseline without episodes there has its search score."""

    def returns(name: str) -> Floats:
        if name in episodes:
            return np.asarray(episodes[name].returns, dtype=np.float64)
        score = baselines[name].search_return if name in baselines else math.nan
        return np.array([score] if math.isfinite(score) else [], dtype=np.float64)

    return scale_of(returns("random"), returns("dense"), returns("constant"))


def choose(
    snapshots: Sequence[Snapshot],
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Baseline],
    goal: GoalSettings = NO_GOAL,
) -> pd.DataFrame:
    """Chooses the members of the front, its knee and its picks.

    Args:
        snapshots: Snapshots of the archive.
        evaluations: Evaluations with fresh episodes; only those on selection seeds are used.
        baselines: Baselines by name.
        goal: Goal that the wanted policy must meet.

    Returns:
        One row per re-evaluated snapshot, the densest first.
    """
    by_id = {s.snapshot_id: s for s in snapshots}
    selection = usable(evaluations, "selection")
    policies = [by_id[i] for i in selection if i in by_id]
    policies.sort(key=lambda s: (s.sparsity, s.snapshot_id))
    scale = scale_from(selection, baselines)
    score = np.array([float(np.mean(selection[s.snapshot_id].returns)) for s in policies])
    sparsity = np.array([s.sparsity for s in policies])
    feasible = score > scale.floor
    member = np.zeros(len(policies), dtype=bool)
    member[feasible] = nondominated(np.column_stack([score, sparsity])[feasible])
    # Policies with equal score and sparsity are one point of the front, represented by the first.
    points = list(zip(score, sparsity, strict=True))
    member &= np.array([points.index(point) == i for i, point in enumerate(points)], dtype=bool)
    on_front = np.flatnonzero(member)
    decades = log_density(sparsity, [s.total_params for s in policies])
    bend = knee(score[on_front], decades[on_front])
    kept = scale.retained(score)
    picks = {
        name: next((i for i in reversed(on_front) if kept[i] >= share), None)
        for name, share in KEEPS.items()
    }
    weights = np.array([s.nonzero_params for s in policies], dtype=np.float64)
    met = goal_pick(goal, weights[on_front], kept[on_front])
    picks["goal"] = None if met is None else on_front[met]
    at = np.arange(len(policies))
    return pd.DataFrame(
        {
            "snapshot_id": [s.snapshot_id for s in policies],
            "sparsity": sparsity,
            "density": 1.0 - sparsity,
            "search_return": [s.return_mean for s in policies],
            "selection_return": score,
            "nonzero_params": [s.nonzero_params for s in policies],
            "total_params": [s.total_params for s in policies],
            "knee": at == (-1 if bend is None else on_front[bend]),
            **{name: at == (-1 if pick is None else pick) for name, pick in picks.items()},
            "policy": [s.checkpoint for s in policies],
            "member": member,
        }
    )
