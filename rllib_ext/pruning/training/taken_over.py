"""The state that a schedule continues from: masks, or the schedule of the same network or a donor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import Masks, masked_share
from rllib_ext.pruning.schedule.decide import ScheduleState, anchored, start
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.training.accepted import Accepted

EVENTS = ("pruned", "held", "regrown", "rewound", "rolled_back")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TakenOver:
    """The known past of a schedule.

    Attributes:
        standing: State of the schedule.
        events: Number of times that each event of `EVENTS` has occurred.
        evaluated_return: A mean return for the next decision; None: none.
        accepted: The state to roll back to; None: none.
    """

    standing: ScheduleState
    events: dict[str, int]
    evaluated_return: float | None = None
    accepted: Accepted | None = None


def begun(config: PruningConfig, weights: PrunableWeights, masks: Masks) -> ScheduleState:
    """The standing of a schedule that begins with masks."""
    sparsity, critic_sparsity = _shares(weights, masks)
    return start(config, ScheduleState(sparsity=sparsity, critic_sparsity=critic_sparsity))


def staying(config: PruningConfig, weights: PrunableWeights, masks: Masks) -> PruningConfig:
    """A configuration that asks for no more than masks have removed."""
    # A sparsity of 1 is none that could be asked for; this one rounds to the same count.
    most = math.nextafter(1.0, 0.0)
    sparsity, critic_sparsity = _shares(weights, masks)
    return config.replace(
        final_sparsity=min(most, sparsity),
        critic_final_sparsity=min(most, critic_sparsity),
        threshold=None,
    )


def taken_over(
    config: PruningConfig, state: Mapping[str, Any], weights: PrunableWeights, masks: Masks
) -> TakenOver:
    """Returns the part of a saved schedule that a network takes over.

    Where the configuration is another one – a clone with new hyperparameters – the schedule is anchored
    anew at (now, sparsity now), so that sparsity doesn't jump.

    Args:
        config: The network's own configuration; `horizon` is set.
        state: State as returned by `Pruner.state_dict`.
        weights: The network's prunable weights.
        masks: The state's masks.

    Raises:
        CheckpointError: The masks of the state to roll back to are for other weights.
    """
    saved = PruningConfig.from_dict(state["config"])
    standing = ScheduleState.from_dict(state["standing"])
    none_yet = dict.fromkeys(EVENTS, 0)
    if saved == config:
        accepted = state["accepted"]
        every = {**weights.policy, **weights.critic}
        return TakenOver(
            standing=standing,
            events={**none_yet, **state["events"]},
            evaluated_return=state["evaluated_return"],
            accepted=None if accepted is None else Accepted.from_state(accepted, every),
        )
    assert config.horizon is not None
    env_steps = int(state["env_steps"])
    sparsity, critic_sparsity = _shares(weights, masks)
    clone = anchored(
        config,
        env_steps / config.horizon,
        saved,
        standing,
        env_steps,
        sparsity=sparsity,
        critic_sparsity=critic_sparsity,
    )
    return TakenOver(standing=clone, events=none_yet)


def _shares(weights: PrunableWeights, masks: Masks) -> tuple[float, float]:
    """Sparsities of the policy path and of the critic, counted from masks."""
    return masked_share(masks, weights.policy), masked_share(masks, weights.critic)
