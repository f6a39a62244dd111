"""Environments whose observations a pack carries as rows of numbers: nested ones, and flattened ones."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.utils.numpy import flatten_inputs_to_1d_tensor
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.packed.observations import raveled, width_of

Array = np.ndarray[Any, np.dtype[Any]]


def flattening_among(connectors: Sequence[Any]) -> tuple[FlattenObservations | None, list[Any]]:
    """RLlib's `FlattenObservations` where it is the first connector, and those that follow.

    Args:
        connectors: Connectors that a configuration adds.
    """
    first, *rest = [*connectors, None]
    if type(first) is FlattenObservations and not first._multi_agent:
        return first, [c for c in rest if c is not None]
    return None, list(connectors)


def carried_by(
    make: EnvMaker, space: gym.Space[Any], flattening: FlattenObservations | None
) -> EnvMaker:
    """Builds environments whose observations are arrays.

    Args:
        make: Builds one.
        space: The observation space of what `make` builds.
        flattening: RLlib's connector, for its settings; None: observations keep their parts.

    Returns:
        `make` itself where observations are arrays already and stay as they are.
    """
    if flattening is None:
        return make if isinstance(space, gym.spaces.Box) else functools.partial(_raveled, make)
    return functools.partial(_flattened, make, frozenset(flattening._keys_to_remove or ()))


class Rows(gym.ObservationWrapper[Any, Any, Any]):
    """Shows the parts of observations side by side; `unraveled` takes them apart again.

    Args:
        env: Its observations are in the form of their space.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = _box(width_of(env.observation_space))

    def observation(self, observation: Any) -> Array:
        """A row of numbers."""
        return raveled(self.env.observation_space, observation)


class Flattened(gym.ObservationWrapper[Any, Any, Any]):
    """Shows what RLlib's `FlattenObservations` makes of observations.

    Args:
        env: Its observations are in the form of their space.
        removed: Keys of a Dict that are left out.
    """

    def __init__(self, env: gym.Env[Any, Any], removed: frozenset[str]) -> None:
        super().__init__(env)
        self._removed = removed
        self._spaces = self._without(get_base_struct_from_space(env.observation_space))
        # The environment may draw from its own.
        sample = self.observation(copy.deepcopy(env.observation_space).sample())
        self.observation_space = _box(len(sample))

    def observation(self, observation: Any) -> Array:
        """A row of numbers, what is discrete one-hot."""
        parts = self._without(observation)
        flat: Array = flatten_inputs_to_1d_tensor(parts, self._spaces, batch_axis=False)
        return flat.astype(np.float32, copy=False)

    def _without(self, parts: Any) -> Any:
        if not self._removed:
            return parts
        return {key: part for key, part in parts.items() if key not in self._removed}


def _box(width: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)


def _raveled(make: EnvMaker) -> gym.Env[Any, Any]:
    return Rows(CopiedObservations(make()))


def _flattened(make: EnvMaker, removed: frozenset[str]) -> gym.Env[Any, Any]:
    return Flattened(CopiedObservations(make()), removed)
