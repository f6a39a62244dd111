"""Builds environments that differ from the one in training as a `Shift` says."""

from __future__ import annotations

import copy
import difflib
import numbers
from collections.abc import Container, Iterable
from typing import Any

import gymnasium
import numpy as np
import tree
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from typing_extensions import override

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker, env_maker, keywords_of
from rllib_ext.envs.legal import sampled
from rllib_ext.envs.shift import Shift
from rllib_ext.pruning.errors import ConfigError

# Random streams; the environment's own has the plain seed, a random policy's has 1.
OBSERVATIONS, ACTIONS = 3, 4


def shifted_maker(config: AlgorithmConfig, shift: Shift, scale: Any = None) -> EnvMaker:
    """Returns a function that builds one environment under a shift.

    Args:
        config: Configuration that names the environment.
        shift: Differences from training.
        scale: `observation_std` of undisturbed episodes; used if noise is in units of it.

    Raises:
        ConfigError: The environment has nothing of a name that is set, or can't be made noisy; found by
            building it once.
    """
    known = keywords_of(config)
    arguments = {k: v for k, v in shift.set if k in known or k in config.env_config}
    attributes = {k: v for k, v in shift.set if k not in arguments}
    plain = config.copy(copy_frozen=False)
    plain.environment(env_config={**config.env_config, **arguments})
    make_plain = env_maker(plain)
    if shift.noise and shift.noise_unit == "std" and scale is None:
        raise ConfigError(
            "observation noise in units of the observation's standard deviation needs that measured: "
            "give scale=observation_std(...), or noise_unit='absolute'."
        )

    def make() -> gymnasium.Env[Any, Any]:
        env = make_plain()
        for path, value in attributes.items():
            _set(env, path, value, known)
        if attributes:
            _derive(env.unwrapped, attributes)
        if shift.action_noise:
            env = ActionNoise(env, shift.action_noise)
        if shift.noise:
            # An environment may return lists where its space has arrays.
            env = CopiedObservations(env)
            env = ObservationNoise(env, shift.noise, scale if shift.noise_unit == "std" else None)
        return env

    try:
        make().close()
    except ConfigError:
        raise
    except Exception as error:
        # An environment may refuse a value with any exception.
        raise ConfigError(
            f"{config.env} under {shift.label!r} cannot be built: {type(error).__name__}: {error}. "
            "Expected values that the environment takes."
        ) from error
    return make


class ObservationNoise(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper that adds Gaussian noise to observations, reproducible by each episode's seed.

    Floats may exceed their bounds; integers of a Box, such as pixels, are rounded and clipped to them.
    Discrete parts of an observation stay unchanged.

    Args:
        env: The environment.
        amount: Standard deviation of the noise.
        scale: Factor of each component's noise, in the structure of an observation; None means 1.

    Raises:
        ConfigError: No part of the observation can be noisy.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], amount: float, scale: Any = None) -> None:
        super().__init__(env)
        self._leaves = leaf_spaces(env.observation_space)
        if not any(isinstance(space, gymnasium.spaces.Box) for space in self._leaves):
            raise ConfigError(
                f"noise = {amount}: the observation {env.observation_space} has no Box, so nothing in "
                "it can be noisy. Leave noise out."
            )
        factors = [1.0] * len(self._leaves) if scale is None else tree.flatten(scale)
        self._amounts = [amount * np.asarray(factor, dtype=np.float64) for factor in factors]
        self._rng = np.random.default_rng(0)

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._rng = np.random.default_rng([seed, OBSERVATIONS])
        observation, info = self.env.reset(seed=seed, options=options)
        return self._noisy(observation), info

    @override
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, *rest = self.env.step(action)
        return (self._noisy(observation), *rest)

    def _noisy(self, observation: Any) -> Any:
        parts = tree.flatten(observation)
        for i, (part, space, amount) in enumerate(
            zip(parts, self._leaves, self._amounts, strict=True)
        ):
            if not isinstance(space, gymnasium.spaces.Box):
                continue
            noisy = np.asarray(part, dtype=np.float64)
            noisy = noisy + amount * self._rng.standard_normal(noisy.shape)
            if not np.issubdtype(space.dtype, np.floating):
                noisy = np.clip(np.rint(noisy), space.low, space.high)
            parts[i] = noisy.astype(space.dtype)
        return tree.unflatten_as(observation, parts)


class ActionNoise(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper that adds noise to actions, reproducible by each episode's seed.

    Args:
        env: The environment.
        amount: For a Box, the noise's standard deviation in halves of the range (absolute where
            unbounded); otherwise the probability of a uniformly random action.

    Raises:
        ConfigError: The probability is above 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], amount: float) -> None:
        super().__init__(env)
        self._amount = amount
        self._space = copy.deepcopy(env.action_space)
        self._seen: Any = None
        self._rng = np.random.default_rng(0)
        if isinstance(self._space, gymnasium.spaces.Box):
            low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
            bounded = np.isfinite(low) & np.isfinite(high)
            self._std = amount * np.where(bounded, (high - low) / 2.0, 1.0)
        elif amount > 1.0:
            raise ConfigError(
                f"action_noise = {amount}: for {self._space} it is the probability of a random action; "
                "expected at most 1."
            )

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._rng = np.random.default_rng([seed, ACTIONS])
            self._space.seed(int(self._rng.integers(2**31)))
        self._seen, info = self.env.reset(seed=seed, options=options)
        return self._seen, info

    @override
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        space = self._space
        if isinstance(space, gymnasium.spaces.Box):
            noisy = np.asarray(action, dtype=np.float64)
            noisy = noisy + self._std * self._rng.standard_normal(space.shape)
            action = np.clip(noisy, space.low, space.high).astype(space.dtype)
        elif self._rng.random() < self._amount:
            action = sampled(space, self._seen)
        self._seen, reward, terminated, truncated, info = self.env.step(action)
        return self._seen, reward, terminated, truncated, info


def leaf_spaces(space: gymnasium.Space[Any]) -> list[gymnasium.Space[Any]]:
    """Returns the spaces of an observation's flattened parts, in `tree.flatten`'s order."""
    if isinstance(space, gymnasium.spaces.Dict):
        # `tree` traverses mappings by sorted keys.
        return [leaf for key in sorted(space.spaces) for leaf in leaf_spaces(space.spaces[key])]
    if isinstance(space, gymnasium.spaces.Tuple):
        return [leaf for part in space.spaces for leaf in leaf_spaces(part)]
    return [space]


def _set(env: gymnasium.Env[Any, Any], path: str, value: Any, arguments: Iterable[str]) -> None:
    """Sets an existing attribute, or a nested one such as "model.opt.gravity"."""
    *parents, name = path.split(".")
    target: Any = env.unwrapped
    for parent in parents:
        target = getattr(target, parent, None)
    if name.startswith("_") or not hasattr(target, name) or callable(getattr(target, name)):
        known = [*arguments, *_settable(env.unwrapped)]
        near = difflib.get_close_matches(path, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{path!r} is neither an argument nor an attribute of the environment "
            f"{type(env.unwrapped).__name__}.{hint} Known: {', '.join(known)}."
        )
    before = getattr(target, name)
    if isinstance(before, numbers.Real) and not isinstance(value, numbers.Real):
        raise ConfigError(f"{path} = {value!r}; expected a number, as the {before!r} that it is.")
    try:
        setattr(target, name, value)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} = {value!r} cannot be set: {error}.") from error


def _settable(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Lists public attributes that hold numbers."""
    return [
        name
        for name, value in vars(env).items()
        if not name.startswith("_") and isinstance(value, float | int)
    ]


def _derive(env: Any, given: Container[str]) -> None:
    """Recomputes what Gymnasium's cart pole derives from its masses and length when it is built.

    For other environments, derived attributes must be set as well.
    """
    if {"masspole", "masscart", "length", "polemass_length", "total_mass"} <= vars(env).keys():
        if "total_mass" not in given:
            env.total_mass = env.masspole + env.masscart
        if "polemass_length" not in given:
            env.polemass_length = env.masspole * env.length
