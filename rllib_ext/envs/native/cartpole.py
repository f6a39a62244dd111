"""The cart with a pole: Barto, Sutton & Anderson 1983, with the equations of Florian 2007.

https://coneural.org/florian/papers/05_cart_pole.pdf, equations 23 and 24, without friction.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from typing_extensions import override

from rllib_ext.envs.native.dynamics import Array, Dynamics, silent


class CartPole(Dynamics):
    """Gymnasium's CartPole; the state is (position, speed, angle, angular speed).

    Args:
        env: Single environment from which masses, length, force and the reward are read.
    """

    def __init__(self, env: CartPoleEnv) -> None:
        self._gravity = float(env.gravity)
        self._pole_mass, self._mass = float(env.masspole), float(env.total_mass)
        self._half_length, self._moment = float(env.length), float(env.polemass_length)
        self._force, self._seconds = float(env.force_mag), float(env.tau)
        self._limits = float(env.x_threshold), float(env.theta_threshold_radians)
        self._sutton_barto = bool(env._sutton_barto_reward)

    @override
    @staticmethod
    def covers(env: CartPoleEnv) -> bool:
        """Excludes the semi-implicit integrator."""
        return silent(env) and env.kinematics_integrator == "euler"

    @override
    def start(self, generator: np.random.Generator) -> Array:
        return generator.uniform(-0.05, 0.05, size=4)

    @override
    def observe(self, states: Array) -> Array:
        """Returns the state as the observation."""
        return states.T.astype(np.float32)

    @override
    def step(self, states: Array, actions: Array) -> tuple[Array, Array, Array]:
        """Takes a step; actions are 0 for left and 1 for right."""
        _, speed, angle, turning = states
        force = np.where(actions == 1, self._force, -self._force)
        cosine, sine = np.cos(angle), np.sin(angle)
        pushed = (force + self._moment * np.square(turning) * sine) / self._mass
        leverage = 4.0 / 3.0 - self._pole_mass * np.square(cosine) / self._mass
        angular = (self._gravity * sine - cosine * pushed) / (self._half_length * leverage)
        linear = pushed - self._moment * angular * cosine / self._mass
        # Not np.stack: on so few numbers its overhead would take most of the time.
        rates = np.empty_like(states)
        rates[0], rates[1], rates[2], rates[3] = speed, linear, turning, angular
        following = states + self._seconds * rates
        off, tilted = self._limits
        fallen: Array = (np.abs(following[0]) > off) | (np.abs(following[2]) > tilted)
        if self._sutton_barto:
            return following, np.where(fallen, -1.0, 0.0), fallen
        return following, np.ones(len(fallen)), fallen
