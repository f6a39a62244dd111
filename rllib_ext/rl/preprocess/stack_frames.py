"""Connector that stacks frames of any Box; RLlib's own FrameStacking takes one-channel images only."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from typing_extensions import override

from rllib_ext.pruning.errors import ConfigError


class StackFrames(ConnectorV2):
    """Connector that replaces each observation by the last frames, joined along the last axis.

    The oldest is first; before an episode's start lie zeros, as with RLlib's FrameStacking and
    stable-baselines3's VecFrameStack. The Learner finds the stacked observations in the episodes and
    needs no connector of its own.

    Args:
        num_frames: Number of frames, ≥ 1.
    """

    def __init__(
        self,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
        *,
        num_frames: int = 1,
        **kwargs: Any,
    ) -> None:
        self.num_frames = num_frames
        super().__init__(input_observation_space, input_action_space, **kwargs)

    @override
    def recompute_output_observation_space(
        self, input_observation_space: gym.Space[Any], input_action_space: gym.Space[Any]
    ) -> gym.Space[Any]:
        space = input_observation_space
        if not isinstance(space, gym.spaces.Box) or not space.shape:
            raise ConfigError(
                f"frame_stack = {self.num_frames}: observations are {space}; expected a Box of one "
                "dimension or more. Flatten them first, with "
                "env_to_module_connector: ray.rllib.connectors.env_to_module:FlattenObservations."
            )
        low, high = (np.concatenate([b] * self.num_frames, -1) for b in (space.low, space.high))
        # The zeros before an episode's start must be within bounds.
        return gym.spaces.Box(np.minimum(low, 0), np.maximum(high, 0), dtype=space.dtype)

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
        for episode in self.single_agent_episode_iterator(episodes):
            frame = np.asarray(episode.get_observations(-1))
            if episode.t == 0:
                before = np.zeros((*frame.shape[:-1], frame.shape[-1] * self.num_frames))
            else:
                before = episode.get_observations(-2)
            stacked = np.concatenate([before[..., frame.shape[-1] :], frame], axis=-1)
            episode.set_observations(at_indices=-1, new_data=stacked.astype(frame.dtype))
            episode.observation_space = self.observation_space
        return batch
