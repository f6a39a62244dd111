"""The Acrobot: two links of which only the joint between them is driven.

Sutton & Barto, Reinforcement Learning: An Introduction (1998), section 11.3, with φ and d as there;
integrated with the classic fourth-order Runge–Kutta rule.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from typing_extensions import override

from rllib_ext.envs.native.dynamics import Array, Dynamics, silent, squared

GRAVITY = 9.8


class Acrobot(Dynamics):
    """Gymnasium's Acrobot; the state is (θ₁, θ₂, θ̇₁, θ̇₂).

    Args:
        env: Single environment from which masses, lengths, torques and limits are read.
    """

    def __init__(self, env: AcrobotEnv) -> None:
        self._masses = float(env.LINK_MASS_1), float(env.LINK_MASS_2)
        self._length = float(env.LINK_LENGTH_1)
        self._centres = float(env.LINK_COM_POS_1), float(env.LINK_COM_POS_2)
        self._inertia = float(env.LINK_MOI)
        self._torques = np.array(env.AVAIL_TORQUE, dtype=np.float64)
        self._seconds = float(env.dt)
        self._fastest = np.array([[env.MAX_VEL_1], [env.MAX_VEL_2]])

    @override
    @staticmethod
    def covers(env: AcrobotEnv) -> bool:
        """Excludes torque noise and the equations of the earlier paper."""
        return silent(env) and env.book_or_nips == "book" and env.torque_noise_max <= 0.0

    @override
    def start(self, generator: np.random.Generator) -> Array:
        # Gymnasium rounds the first state to single precision, and no later one.
        return generator.uniform(-0.1, 0.1, size=4).astype(np.float32)

    @override
    def observe(self, states: Array) -> Array:
        """Returns cosine and sine of both angles, then the speeds."""
        seen = np.empty((states.shape[1], 6), dtype=np.float32)
        seen[:, 0:4:2] = np.cos(states[:2]).T
        seen[:, 1:4:2] = np.sin(states[:2]).T
        seen[:, 4:] = states[2:].T
        return seen

    @override
    def step(self, states: Array, actions: Array) -> tuple[Array, Array, Array]:
        """Takes a step; actions are 0 to 2, indices of torques."""
        torque, whole = self._torques[actions], self._seconds
        half = whole / 2.0
        first = self._change(states, torque)
        second = self._change(states + half * first, torque)
        third = self._change(states + half * second, torque)
        fourth = self._change(states + whole * third, torque)
        following = states + whole / 6.0 * (first + 2 * second + 2 * third + fourth)
        _wrap_(following[:2])
        np.clip(following[2:], -self._fastest, self._fastest, out=following[2:])
        height = -np.cos(following[0]) - np.cos(following[1] + following[0])
        up: Array = height > 1.0
        return following, np.where(up, 0.0, -1.0), up

    def _change(self, states: Array, torque: Array) -> Array:
        """Returns the time derivative of the states."""
        (m1, m2), (lc1, lc2) = self._masses, self._centres
        l1, inertia = self._length, self._inertia
        angle1, angle2, speed1, speed2 = states
        cosine, sine = np.cos(angle2), np.sin(angle2)
        square1, square2 = squared(states[2:])
        coupling = 2 * l1 * lc2 * cosine
        d1 = m1 * lc1**2 + m2 * (l1**2 + lc2**2 + coupling) + inertia + inertia
        d2 = m2 * (lc2**2 + l1 * lc2 * cosine) + inertia
        phi2 = m2 * lc2 * GRAVITY * np.cos(angle1 + angle2 - np.pi / 2.0)
        phi1 = (
            -m2 * l1 * lc2 * square2 * sine
            - 2 * m2 * l1 * lc2 * speed2 * speed1 * sine
            + (m1 * lc1 + m2 * l1) * GRAVITY * np.cos(angle1 - np.pi / 2)
            + phi2
        )
        ratio = d2 / d1
        driven = torque + ratio * phi1 - m2 * l1 * lc2 * square1 * sine - phi2
        change2 = driven / (m2 * lc2**2 + inertia - squared(d2) / d1)
        change1 = -(d2 * change2 + phi1) / d1
        return np.stack((speed1, speed2, change1, change2))


def _wrap_(angles: Array) -> None:
    """Wraps angles into [−π, π], in place, one turn at a time."""
    while (beyond := np.abs(angles) > np.pi).any():
        angles[beyond] -= np.copysign(2 * np.pi, angles[beyond])
