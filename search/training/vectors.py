"""Describes vector observations and actions, which linear policies and trees require."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.prunable import fresh_network

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vectors:
    """The inputs and actions of a policy with vector observations.

    Attributes:
        inputs: Length of the observation that the network sees, after all connectors.
        actions: Number of discrete actions, or length of a continuous action.
        discrete: Whether actions are discrete.
        low: Lower bound that actions are clipped to before the environment gets them; −∞ if they aren't.
        high: Upper bound, likewise; ∞ if they aren't.
    """

    inputs: int
    actions: int
    discrete: bool
    low: float | Array = -np.inf
    high: float | Array = np.inf

    @property
    def linear(self) -> int:
        """Number of weights of a linear policy that reads all inputs.

        One of the n logits can always be 0 without changing the distribution over actions.
        """
        return self.inputs * (self.actions - 1 if self.discrete else self.actions)


def vectors_of(kind: str, ppo: PPOConfig) -> Vectors:
    """Returns the inputs and actions that a configuration's spaces define.

    Args:
        kind: Kind of baseline to be fitted, for the message: "linear" or "tree".
        ppo: Any PPO configuration of the new API stack with one policy.

    Raises:
        ConfigError: Observations or actions aren't vectors, or the policy has a memory.
    """
    module, pipeline = fresh_network(ppo)
    seen, space = pipeline.observation_space, module.action_space
    leave = f"Leave baselines.{kind} at 0."
    if not isinstance(seen, gymnasium.spaces.Box) or len(seen.shape) != 1:
        raise ConfigError(
            f"{kind}: the policy sees {_brief(seen)}; expected a vector. A connector such as "
            f"FlattenObservations makes one of a dict observation. {leave}"
        )
    if module.is_stateful():
        raise ConfigError(f"{kind}: the policy has a memory, which a {kind} policy lacks. {leave}")
    inputs = int(seen.shape[0])
    if isinstance(space, gymnasium.spaces.Discrete) and int(space.start) == 0 and int(space.n) > 1:
        return Vectors(inputs=inputs, actions=int(space.n), discrete=True)
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(
            f"{kind}: actions are {_brief(space)}; expected a Discrete from 0 on, or a vector. {leave}"
        )
    low, high = _bounds(ppo, space)
    return Vectors(inputs=inputs, actions=int(space.shape[0]), discrete=False, low=low, high=high)


def _bounds(ppo: PPOConfig, space: Any) -> tuple[float | Array, float | Array]:
    """Returns the bounds of the policy's actions.

    RLlib's connector scales actions from [−1, 1] to the space's bounds, or clips them to these bounds.
    """
    if ppo.normalize_actions:
        return -1.0, 1.0
    return (space.low, space.high) if ppo.clip_actions else (-np.inf, np.inf)


def _brief(space: Any) -> str:
    shape = getattr(space, "shape", None)
    return f"a {type(space).__name__}" + (f" of shape {shape}" if shape else "")
