"""Finds the native version of an environment, if there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from rllib_ext.envs.native.acrobot import Acrobot
from rllib_ext.envs.native.cartpole import CartPole
from rllib_ext.envs.native.dynamics import Dynamics
from rllib_ext.envs.native.pendulum import Pendulum

KINDS: dict[type[gym.Env[Any, Any]], type[Dynamics]] = {
    CartPoleEnv: CartPole,
    AcrobotEnv: Acrobot,
    PendulumEnv: Pendulum,
}
NAMES = ", ".join(kind.__name__ for kind in KINDS.values())
# Number of further environments whose constants are compared: a draw of two values is noticed in all but
# 1 of 128 cases.
BUILDS = 7
Make = Callable[[], gym.Env[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Native:
    """An environment that can be stepped many at a time.

    Attributes:
        dynamics: Dynamics of the environment.
        limit: Steps after which an episode is cut.
    """

    dynamics: Dynamics
    limit: int


def native_of(make: Make) -> Native | None:
    """Returns the native version of what `make` builds, or None if there is none."""
    env = make()
    try:
        return native_version(env, make)
    finally:
        env.close()


def native_version(env: gym.Env[Any, Any], make: Make) -> Native | None:
    """Returns the native version of environments, or None if there is none that behaves the same.

    A native version uses the same constants for all environments, so there is none if `make` draws them,
    as in domain randomisation.

    Args:
        env: One of the environments.
        make: Builds further ones; called if `env` has a native version.
    """
    found = _read(env)
    if found is None:
        return None
    for _ in range(BUILDS):
        another = make()
        try:
            other = _read(another)
        finally:
            another.close()
        if other is None or not _alike(found, other):
            return None
    return found


def _read(env: gym.Env[Any, Any]) -> Native | None:
    """Returns the native version of one environment, without regard to others, or None."""
    limits: list[int] = []
    while isinstance(env, gym.Wrapper):
        if type(env) is TimeLimit:
            limits.append(int(env._max_episode_steps))
        elif type(env) not in (OrderEnforcing, PassiveEnvChecker):
            return None
        env = env.env
    kind = KINDS.get(type(env))
    if kind is None or not limits or not kind.covers(env):
        return None
    return Native(kind(env), min(limits))


def _alike(one: Native, other: Native) -> bool:
    mine, theirs = vars(one.dynamics), vars(other.dynamics)
    return (
        type(one.dynamics) is type(other.dynamics)
        and one.limit == other.limit
        and all(np.array_equal(mine[name], theirs[name]) for name in mine)
    )
