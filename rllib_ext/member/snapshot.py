"""Describes an evaluated moment of a member, as plain values for the archive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rllib_ext.evaluation.evaluator import Episodes
from rllib_ext.member.segment import Segment, snapshot_name

COUNTS = ("sparsity", "critic_sparsity", "nonzero_params", "total_params", "layers")


def snapshot_of(
    segment: Segment,
    episodes: Episodes,
    pruning: Mapping[str, Any],
    *,
    iteration: int,
    env_steps: int,
    finite: bool,
    objectives: Mapping[str, float],
) -> dict[str, Any]:
    """Returns the values of a snapshot.

    Args:
        segment: Current segment of the member.
        episodes: Evaluation episodes of its current policy.
        pruning: Current sparsities and weight counts, as reported by the Pruner.
        iteration: Number of training iterations of the lineage.
        env_steps: The lineage's clock.
        finite: Whether all weights are finite.
        objectives: Objectives measured beside return and sparsity, by name.
    """
    name = snapshot_name(segment.member, segment.segment, iteration)
    return {
        "snapshot_id": name,
        "trial_number": segment.trial_number,
        "member": segment.member,
        "segment": segment.segment,
        "iteration": iteration,
        "env_steps": env_steps,
        "status": "ok" if finite and math.isfinite(episodes.mean) else "failed",
        "return_mean": episodes.mean,
        "return_std": episodes.std,
        "episodes": episodes.count,
        "parent": segment.parent,
        "checkpoint": f"policies/{name}",
        "state": f"states/{name}",
        "seeds": list(episodes.seeds),
        "returns": list(episodes.returns),
        "lengths": list(episodes.lengths),
        "objectives": dict(objectives),
        **{key: pruning[key] for key in COUNTS},
    }


def metadata_of(snapshot: Mapping[str, Any], env: str) -> dict[str, Any]:
    """Returns the metadata to store beside a snapshot's saved policy.

    Args:
        snapshot: The snapshot's plain values.
        env: Name of the environment.
    """
    return {
        "snapshot_id": snapshot["snapshot_id"],
        "env": env,
        "env_steps": snapshot["env_steps"],
        "search_return": snapshot["return_mean"],
        **{key: snapshot[key] for key in COUNTS},
    }
