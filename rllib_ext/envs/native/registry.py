"""Which environments have a native version."""

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
# Further environments whose constants are compared: a draw of two values shows in all but 1 of 128.
BUILDS = 7
Make = Callable[[], gym.Env[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Native:
    """An environment that can be stepped many at a time.

    Attributes:
        dynamics: What it does.
        limit: Steps after which an episode is cut.
    """

    dynamics: Dynamics
    limit: int


def native_of(make: Make) -> Native | None:
    """The native version of what `make` builds; None where there is none."""
    env = make()
    try:
        return native_version(env, make)
    finally:
        env.close()


def native_version(env: gym.Env[Any, Any], make: Make) -> Native | None:
    """The native version of environments; None where there is none that does just the same.

    It has the constants of one for all of them, so there is none where `make` draws them, as for domain
    randomisation.

    Args:
        env: One of them.
        make: Builds the others; called where `env` has a native version.
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
    """The native version of one environment, whatever the others are."""
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
