"""The current state of pruning as numbers for loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rllib_ext.pruning.masks import count_zeros, sparsity_of
from rllib_ext.pruning.schedule.decide import PruneTarget, ScheduleState
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.structure.groups import Structure


def sparsity_metrics(weights: PrunableWeights) -> dict[str, Any]:
    """Sparsities and counts from stored weights.

    Returns:
        "sparsity", "zeros", "nonzero_params" and "total_params" of the policy path,
        "critic_sparsity", and under "layers" the sparsity of each layer of both.
    """
    zeros = count_zeros(weights.policy.values())
    total = sum(weight.numel() for weight in weights.policy.values())
    layers = {**weights.policy, **weights.critic}
    return {
        "sparsity": sparsity_of(weights.policy),
        "critic_sparsity": sparsity_of(weights.critic),
        "zeros": zeros,
        "nonzero_params": total - zeros,
        "total_params": total,
        "layers": {name: sparsity_of({name: weight}) for name, weight in layers.items()},
    }


def structure_metrics(structure: Structure | None, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the original and remaining numbers of units, layers or branches; empty for single weights.

    Returns:
        "groups" and "groups_left", of the policy path and the critic together.
    """
    if structure is None:
        return {}
    left = len(structure) - int(structure.removed(masks).sum())
    return {"groups": len(structure), "groups_left": left}


def schedule_metrics(
    extent: PruneTarget | None, standing: ScheduleState, patience: int
) -> dict[str, float | int]:
    """Returns the extent in force and, for the schedule "plateau", the state of its rule.

    Args:
        extent: Extent that the last decision asked for; None before the first.
        standing: Current state of the schedule.
        patience: Evaluations for which "plateau" waits.
    """
    values: dict[str, float | int] = {}
    if extent is not None:
        values["critic_target_sparsity"] = extent.critic_sparsity
    if extent is not None and extent.sparsity is not None:
        values["target_sparsity"] = extent.sparsity
    if extent is not None and extent.threshold is not None:
        values["threshold"] = extent.threshold
    if standing.plateau is not None:
        values["patience_left"] = patience - standing.plateau.waited
        values["plateau_step"] = standing.plateau.step
    return values
