"""Scaled rewards of all members: what `ScaleRewards` gives RLlib's Learner, statistics each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rllib_ext.packed.rollout import Rollout
from rllib_ext.rl.preprocess.reward_scale import RewardScales, discounted
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards


class Rewards:
    """Scaled and clipped rewards that members train on instead of the environments' rewards.

    Args:
        connector: RLlib's counterpart, for its settings; None: rewards pass as they are.
        members: Number of members.
        envs: Environments of each.
    """

    def __init__(self, connector: ScaleRewards | None, members: int, envs: int) -> None:
        self._gamma = None if connector is None else connector.gamma
        self._scales = None
        if connector is not None:
            normalise = connector.gamma is not None
            self._scales = RewardScales(members, normalise=normalise, clip=connector.clip)
        self._returns = np.zeros((members, envs))

    def of(self, rollout: Rollout, members: Sequence[int]) -> Tensor:
        """Scales and clips the rewards of a rollout, and updates some members' statistics.

        Args:
            rollout: A rollout of all members.
            members: Members whose statistics are updated.
        """
        scales = self._scales
        if scales is None:
            return rollout.rewards
        raw = rollout.rewards.cpu().double().numpy()
        if self._gamma is not None:
            ended = (rollout.terminated | rollout.truncated).cpu().numpy()
            over_time = np.moveaxis(raw, 1, 0), np.moveaxis(ended, 1, 0)
            returns, self._returns = discounted(*over_time, self._returns, self._gamma)
            rows = np.asarray(members)
            scales.see(rows, np.moveaxis(returns, 0, 1)[rows].reshape(len(rows), -1))
        scaled = scales.scaled(np.arange(len(raw)), raw)
        return torch.from_numpy(scaled).to(rollout.rewards)

    def begin(self, member: int) -> None:
        """Takes note that a member's environments start new episodes."""
        self._returns[member] = 0.0

    def restart(self, member: int) -> None:
        """Forgets what a member has seen."""
        self.load(member, {})

    def state(self, member: int) -> dict[str, float]:
        """A member's statistics, as `ScaleRewards` gives its state; {} where nothing is learned."""
        return {} if self._scales is None else self._scales.state(member)

    def load(self, member: int, state: Mapping[str, float]) -> None:
        """Takes over what `state` gave, of this or another member."""
        if self._scales is not None:
            self._scales.load(member, state)
