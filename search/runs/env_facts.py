"""Inspects an environment: its spaces and the length of its episodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.float_images import FloatImages
from rllib_ext.envs.minatar import MinAtar
from rllib_ext.envs.missing import extra_of, missing_hint
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import RandomPolicy
from rllib_ext.pruning.errors import ConfigError
from search.config.seeds import draw
from search.config.suggested import LONGEST_TRIED, Facts
from search.evaluation.held_out import LEGAL
from search.training.ppo_config import environment, quieten_rllib

FLOAT_IMAGES = f"{FloatImages.__module__}:{FloatImages.__qualname__}"
# Maximum number of random episodes to try, and the seconds after which no further one begins.
EPISODES, SECONDS = 5, 10.0


def facts_of(env: str, env_config: Mapping[str, Any]) -> Facts:
    """Builds an environment, plays a few random episodes, and returns what is known of it.

    An environment whose observations are images of bytes is wrapped to make them floats.

    Args:
        env: A Gymnasium id, or "package.module:Name".
        env_config: Arguments of the environment.

    Raises:
        ConfigError: The environment can't be built or played, or RLlib has no network for its spaces.
    """
    quieten_rllib()
    given = environment(env)
    ppo = PPOConfig().environment(given, env_config=dict(env_config))
    try:
        make = env_maker(ppo)
        built = make()
    except ConfigError as error:
        raise ConfigError(f"--env {env}: {error}") from error
    except Exception as error:
        # An environment is user code and may raise anything.
        raise ConfigError(
            f"--env {env}: {error}{missing_hint(env, error)} Expected a Gymnasium id or "
            "'package.module:Class'; --set NAME=VALUE gives an argument."
        ) from error
    observation, action = built.observation_space, built.action_space
    limit = getattr(built.spec, "max_episode_steps", None)
    built.close()
    observed, shape = _observed(env, observation)
    if observed == "image" and env != FLOAT_IMAGES and observation.dtype == np.uint8:
        return facts_of(FLOAT_IMAGES, {"env": env, **env_config})
    _refuse_actions(env, action)
    minatar = isinstance(given, type) and issubclass(given, MinAtar)
    extra = "minatar" if minatar else extra_of(env)
    return Facts(
        env=env,
        env_config=dict(env_config),
        extras=(extra,) if extra else (),
        observed=observed,
        shape=shape,
        continuous=isinstance(action, spaces.Box),
        steps=_steps(env, make),
        limit=limit,
        seen=f"observations {_told(observation)}, actions {_told(action)}",
    )


def _observed(env: str, space: spaces.Space[Any]) -> tuple[Any, tuple[int, ...]]:
    """Returns the kind and shape of observations (see `Facts`)."""
    floats = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    if floats and len(space.shape) == 1:
        return "vector", space.shape
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        if space.shape[2] > min(space.shape[:2]):
            raise ConfigError(
                f"--env {env}: observations have the shape {space.shape}; RLlib's CNN expects height, "
                "width, channels. Turn them in a class of your own around the environment."
            )
        return "image", space.shape
    if any(isinstance(part, spaces.Box) and len(part.shape) == 3 for part in _parts(space)):
        raise ConfigError(
            f"--env {env}: observations hold images beside other things, and no network of RLlib's own "
            "reads both. Give an RLModule of your own under ppo.rl_module (docs/own_environment.md), or "
            "let a class of your own around the environment leave one of them out."
        )
    if any(isinstance(part, spaces.Text) for part in _parts(space)):
        raise ConfigError(
            f"--env {env}: observations hold text, which no network of RLlib's own reads. Let a class "
            "of your own around the environment make numbers of it."
        )
    try:
        size = spaces.flatdim(space)
    except (NotImplementedError, ValueError) as error:
        raise ConfigError(
            f"--env {env}: observations are {type(space).__name__}, whose size isn't fixed. Give an "
            "RLModule of your own under ppo.rl_module (docs/own_environment.md)."
        ) from error
    return "flattened", (size,)


def _parts(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    inner: list[Any] = []
    if isinstance(space, spaces.Dict):
        inner = list(space.spaces.values())
    elif isinstance(space, spaces.Tuple):
        inner = list(space.spaces)
    return [space, *(part for one in inner for part in _parts(one))]


def _refuse_actions(env: str, space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete):
        raise ConfigError(
            f"--env {env}: actions are {_told(space)}; expected a Box, Discrete or MultiDiscrete space. "
            "Turn them into one in a class of your own around the environment."
        )


def _told(space: spaces.Space[Any]) -> str:
    """Describes a space in a few words, without its bounds."""
    if isinstance(space, spaces.Box):
        return f"{'×'.join(map(str, space.shape))} of {space.dtype}"
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(space.spaces)})"
    return " ".join(str(space).split())


def _steps(env: str, make: Any) -> float:
    """Returns the mean length of a random policy's episodes in env steps."""
    # A wrapped environment has no native version, which would play only episodes of its own limit.
    evaluator = Evaluator(lambda: gymnasium.Wrapper(make()), max_episode_steps=LONGEST_TRIED)
    until = time.monotonic() + SECONDS
    lengths: list[int] = []
    try:
        policy = RandomPolicy(evaluator.action_space)
        for seed in draw(0, "baseline", EPISODES, 1):
            lengths += evaluator.run(policy, [seed]).lengths
            if time.monotonic() > until:
                break
    except Exception as error:
        # An environment is user code and may raise anything.
        raise ConfigError(
            f"--env {env}: an episode at random fails: {type(error).__name__}: {error}. Expected an "
            f"environment that can be reset and stepped to its end. {LEGAL}"
        ) from error
    finally:
        evaluator.close()
    return sum(lengths) / len(lengths)
