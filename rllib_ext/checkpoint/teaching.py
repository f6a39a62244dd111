"""Checks that a policy can be the teacher of networks that start from it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError


def refuse_unteachable(
    pruning: PruningConfig, filters: Collection[str] | None, module: Any
) -> None:
    """Checks that a requested teacher exists and sees the same observations as its pupil.

    A lineage's teacher is the policy that it begins with. Of a search without a checkpoint the dense
    baseline trains beside the members: while they train there is no trained policy yet.

    Args:
        pruning: Asks for it.
        filters: Names of stateful connectors of the policy that training starts from; None if it starts
            from fresh weights.
        module: The RLModule that is trained.

    Raises:
        ConfigError: There is none, or its divergence wouldn't speak of the same observations.
    """
    if pruning.distil == 0.0:
        return
    asked = f"pruning: distil = {pruning.distil} holds a policy to a teacher's, "
    if filters is None:
        raise ConfigError(
            f"{asked}but there is no trained one when it begins. Give init_checkpoint, whose policy is "
            "then the teacher, or set distil=0."
        )
    if filters:
        raise ConfigError(
            f"{asked}but observations are normalised by what each policy has seen itself "
            f"({', '.join(filters)}), so that the two don't see the same. Use a checkpoint that "
            "was trained without that, or set distil=0."
        )
    if module.is_stateful():
        raise ConfigError(
            f"{asked}but the network has a memory, and a teacher would need one of its own. Use a "
            "network without, or set distil=0."
        )
