"""The pendulum swing-up: a rod that turns about one end and is driven with a torque.

θ̈ = 3g/(2l)·sin θ + 3/(ml²)·u with θ = 0 upright, integrated by the semi-implicit Euler rule.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from typing_extensions import override

from rllib_ext.envs.native.dynamics import Array, Dynamics, silent, squared


class Pendulum(Dynamics):
    """Gymnasium's Pendulum; the state is (angle, angular speed).

    Args:
        env: Single environment from which mass, length, gravity and limits are read.
    """

    def __init__(self, env: PendulumEnv) -> None:
        self._falling = 3 * env.g / (2 * env.l)
        self._driving = 3.0 / (env.m * env.l**2)
        self._seconds = float(env.dt)
        self._fastest, self._strongest = float(env.max_speed), float(env.max_torque)

    @override
    @staticmethod
    def covers(env: PendulumEnv) -> bool:
        return silent(env)

    @override
    def start(self, generator: np.random.Generator) -> Array:
        high = np.array([np.pi, 1.0])
        return generator.uniform(-high, high)

    @override
    def observe(self, states: Array) -> Array:
        """Returns cosine and sine of the angle, and the speed."""
        angle, speed = states
        return np.stack((np.cos(angle), np.sin(angle), speed), axis=1).astype(np.float32)

    @override
    def step(self, states: Array, actions: Array) -> tuple[Array, Array, Array]:
        """Takes a step; actions are torques, shape (envs, 1)."""
        angle, speed = states
        torque = np.clip(actions[:, 0], -self._strongest, self._strongest)
        from_top = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = squared(from_top) + 0.1 * squared(speed) + 0.001 * np.square(torque)
        faster = speed + (self._falling * np.sin(angle) + self._driving * torque) * self._seconds
        faster = np.clip(faster, -self._fastest, self._fastest)
        following = np.stack((angle + faster * self._seconds, faster))
        return following, -cost, np.zeros(len(cost), dtype=bool)
