"""Connector that scales and clips rewards for RLlib's Learner, as RLlib has none for that."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from typing_extensions import override

from rllib_ext.rl.preprocess.reward_scale import RewardScales, discounted

# Set by RLlib's AddOneTsToEpisodesAndTruncate, which makes each episode one step longer than played.
_EXTENDED = "_added_loss_mask_for_valid_episode_ts"


class ScaleRewards(ConnectorV2):
    """Connector that gives the Learner scaled or clipped rewards; episodes, and so returns, keep theirs.

    Args:
        gamma: Discount of the returns whose running standard deviation is the unit of rewards; None
            means that rewards are only clipped.
        clip: Largest magnitude of a reward after scaling; None means no limit.
    """

    def __init__(
        self,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
        *,
        gamma: float | None = None,
        clip: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, **kwargs)
        self.gamma, self.clip = gamma, clip
        self._scales = RewardScales(1, normalise=gamma is not None, clip=clip)
        # Discounted return so far of each episode in the last batch, by the episode's name.
        self._ongoing: dict[str, float] = {}

    @override
    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: list[Any],
        explore: bool | None = None,
        shared_data: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        if not episodes:
            return batch
        extended = bool((shared_data or {}).get(_EXTENDED))
        listed = list(self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False))
        rewards = [np.asarray(e.get_rewards(slice(0, len(e))), np.float64) for e in listed]
        if self.gamma is not None:
            names = [
                e.id_.removesuffix(f"_{i}") if extended else e.id_ for i, e in enumerate(listed)
            ]
            played = [r[:-1] if extended else r for r in rewards]
            self._see(names, played, self.gamma)
        me = np.zeros(1, dtype=np.int64)
        for episode, raw in zip(listed, rewards, strict=True):
            scaled = self._scales.scaled(me, raw[None])[0].astype(np.float32)
            self.add_n_batch_items(batch, Columns.REWARDS, scaled, len(scaled), episode)
        return batch

    def _see(self, names: list[str], rewards: list[Any], gamma: float) -> None:
        before, self._ongoing = self._ongoing, {}
        found = []
        for name, played in zip(names, rewards, strict=True):
            # A finished episode is never looked up again: each has a name of its own.
            start = self._ongoing.get(name, before.get(name, 0.0))
            going = np.zeros(len(played), dtype=bool)
            returns, last = discounted(played, going, np.asarray(start), gamma)
            self._ongoing[name] = float(last)
            found.append(returns)
        joined = np.concatenate(found)
        if len(joined):
            self._scales.see(np.zeros(1, dtype=np.int64), joined[None])

    @override
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        return self._scales.state(0)

    @override
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the statistics; returns start from 0, because environments start new episodes."""
        self._scales.load(0, state)
