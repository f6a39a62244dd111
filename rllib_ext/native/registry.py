"""Which environments have a native version."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from rllib_ext.native.acrobot import Acrobot
from rllib_ext.native.cartpole import CartPole
from rllib_ext.native.dynamics import Dynamics
from rllib_ext.native.pendulum import Pendulum

KINDS: dict[type[gym.Env[Any, Any]], type[Dynamics]] = {
    CartPoleEnv: CartPole,
    AcrobotEnv: Acrobot,
    PendulumEnv: Pendulum,
}
NAMES = ", ".join(kind.__name__ for kind in KINDS.values())


@dataclasses.dataclass(frozen=True)
class Native:
    """An environment that can be stepped many at a time.

    Attributes:
        dynamics: What it does.
        limit: Steps after which an episode is cut.
    """

    dynamics: Dynamics
    limit: int


def native_of(make: Callable[[], gym.Env[Any, Any]]) -> Native | None:
    """As `native_version`, of what `make` builds."""
    env = make()
    try:
        return native_version(env)
    finally:
        env.close()


def native_version(env: gym.Env[Any, Any]) -> Native | None:
    """The native version of an environment; None where there is none that does just the same."""
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
