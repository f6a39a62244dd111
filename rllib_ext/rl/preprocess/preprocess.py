"""Normalisation, frame stacking and clipping for a PPOConfig, by connectors of RLlib and two of ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.utils import force_list

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards
from rllib_ext.rl.preprocess.stack_frames import StackFrames

# Limit of normalised observations and rewards if none is given, as in stable-baselines3's VecNormalize.
CLIP = 10.0
NORMALIZE = (False, True, "observations", "rewards")

Builder = Callable[..., Any]


def with_preprocessing(
    ppo_config: PPOConfig,
    *,
    normalize: bool | str = False,
    clip_obs: float | None = None,
    clip_reward: float | None = None,
    frame_stack: int = 1,
) -> PPOConfig:
    """Returns a copy of a PPO configuration whose policy trains on normalised, stacked or clipped data.

    The added connectors come after any that are set already: observations are normalised (RLlib's
    `MeanStdFilter`), then stacked. This belongs to the policy: evaluations, saved policies and exports
    include it. Rewards are scaled for the Learner only: reported returns are the environment's own.

    Args:
        ppo_config: Any PPO configuration of the new API stack with one policy; left unchanged.
        normalize: Whether observations are normalised by their running mean and standard deviation, and
            rewards are divided by the running standard deviation of the discounted return (with the
            configuration's `gamma`, the same for all members of a search); "observations" or "rewards"
            selects one of these.
        clip_obs: Largest magnitude of an observation after normalisation; None means 10 if observations
            are normalised, otherwise no limit.
        clip_reward: Largest magnitude of a reward after scaling; None means 10 if rewards are scaled,
            otherwise no limit.
        frame_stack: Number of most recent frames that the policy sees, joined along the last axis.

    Raises:
        ConfigError: A value is out of its range; the message says which.
    """
    if normalize not in NORMALIZE:
        raise ConfigError(
            f"normalize = {normalize!r}; expected true, false, 'observations' or 'rewards'."
        )
    for name, limit in (("clip_obs", clip_obs), ("clip_reward", clip_reward)):
        if limit is not None and not 0.0 < limit < math.inf:
            raise ConfigError(f"{name} = {limit!r}; expected a number above 0, or null.")
    if not isinstance(frame_stack, int) or isinstance(frame_stack, bool) or frame_stack < 1:
        raise ConfigError(f"frame_stack = {frame_stack!r}; expected an integer of 1 or more.")
    observations, rewards = (normalize in (True, what) for what in ("observations", "rewards"))
    config: PPOConfig = ppo_config.copy(copy_frozen=False)
    if observations or clip_obs is not None or frame_stack > 1:
        limit = CLIP if observations and clip_obs is None else clip_obs
        config.env_runners(
            env_to_module_connector=ObservationConnectors(
                before=config._env_to_module_connector,
                normalise=observations,
                clip=limit,
                frames=frame_stack,
            )
        )
    if rewards or clip_reward is not None:
        limit = CLIP if rewards and clip_reward is None else clip_reward
        config.learners(
            learner_connector=RewardConnectors(
                before=config._learner_connector,
                gamma=float(config.gamma) if rewards else None,
                clip=limit,
            )
        )
    return config


@dataclasses.dataclass(frozen=True)
class ObservationConnectors:
    """Callable by which RLlib builds the connectors from the environment to the module.

    Attributes:
        before: Builder of the connectors that come first; None if there are none.
        normalise: Whether a `MeanStdFilter` normalises observations.
        clip: Largest magnitude after normalisation; None means no limit.
        frames: Number of frames that are stacked.
    """

    before: Builder | None
    normalise: bool
    clip: float | None
    frames: int

    def __call__(self, *given: Any, **named: Any) -> list[Any]:
        """Returns the connectors; the arguments are RLlib's."""
        found = force_list(self.before(*given, **named)) if self.before is not None else []
        if self.normalise or self.clip is not None:
            if not found:
                _refuse_unfiltered(*given[:2])
            found.append(
                MeanStdFilter(
                    de_mean_to_zero=self.normalise,
                    de_std_to_one=self.normalise,
                    clip_by_value=self.clip,
                )
            )
        if self.frames > 1:
            found.append(StackFrames(num_frames=self.frames))
        return found


def _refuse_unfiltered(env: Any = None, spaces: Any = None) -> None:
    """Refuses observations that RLlib's filter can't take: it keeps integers, fails on Dict, Tuple."""
    known = (spaces or {}).get(INPUT_ENV_SINGLE_SPACES)
    observed = known[0] if known else getattr(env, "single_observation_space", None)
    if isinstance(observed, gym.spaces.Dict | gym.spaces.Tuple):
        raise ConfigError(
            f"normalize and clip_obs: observations are {observed}, and RLlib's MeanStdFilter takes "
            "arrays only. Flatten them first, with env_to_module_connector: "
            "ray.rllib.connectors.env_to_module:FlattenObservations."
        )
    if isinstance(observed, gym.spaces.Box) and not np.issubdtype(observed.dtype, np.floating):
        raise ConfigError(
            f"normalize and clip_obs: observations are {observed}, and RLlib's MeanStdFilter keeps "
            "their number format. Give floats, as gymnasium.wrappers.DtypeObservation does around an "
            "environment of your own."
        )


@dataclasses.dataclass(frozen=True)
class RewardConnectors:
    """Callable by which RLlib builds the connectors of the Learner.

    Attributes:
        before: Builder of the connectors that come first; None if there are none.
        gamma: `gamma` of `ScaleRewards`.
        clip: `clip` of `ScaleRewards`.
    """

    before: Builder | None
    gamma: float | None
    clip: float | None

    def __call__(self, *given: Any, **named: Any) -> list[Any]:
        """Returns the connectors; the arguments are RLlib's."""
        found = force_list(self.before(*given, **named)) if self.before is not None else []
        return [*found, ScaleRewards(gamma=self.gamma, clip=self.clip)]
