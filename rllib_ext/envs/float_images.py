"""A wrapper that turns byte images into floats, because RLlib's CNNs fail on bytes."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.pruning.errors import ConfigError


class FloatImages(gymnasium.ObservationWrapper[Any, Any, Any]):
    """An environment whose byte images, 0 to 255, are given as floats from 0 to 1.

    In a configuration: `env: rllib_ext.envs.float_images:FloatImages` with `env_config: {env: NAME, …}`.

    Args:
        config: "env" is a Gymnasium id or "package.module:Name"; all other keys are that environment's
            arguments.

    Raises:
        ConfigError: "env" is missing or can't be imported, or its observations aren't bytes.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        arguments = dict(config)
        name = arguments.pop("env", None)
        if not isinstance(name, str):
            raise ConfigError(
                f"env_config: env = {name!r}; expected the environment whose images become floats: a "
                "Gymnasium id or 'package.module:Name'."
            )
        ppo = PPOConfig().environment(_named(name), env_config=arguments)
        super().__init__(env_maker(ppo)())
        space = self.env.observation_space
        if not isinstance(space, gymnasium.spaces.Box) or space.dtype != np.uint8:
            raise ConfigError(
                f"env_config: env = {name!r} has the observations {space}; expected bytes, a Box of "
                "uint8. Name it under env by itself."
            )
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, space.shape, np.float32)

    def observation(self, observation: Any) -> Any:
        """Returns the same image in floats."""
        return np.asarray(observation, np.float32) / np.float32(255.0)


def _named(name: str) -> Any:
    """Returns what "package.module:Name" names; a Gymnasium id, with or without a module, as it is."""
    module, _, attribute = name.partition(":")
    if not attribute or re.search(r"-v\d+$", attribute):
        return name
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"env_config: env = {name!r} cannot be imported: {error}.") from error
