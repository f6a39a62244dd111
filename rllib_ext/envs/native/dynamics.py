"""What a native environment must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding

Array = np.ndarray[Any, np.dtype[Any]]


class Dynamics(Protocol):
    """One kind of environment, many at a time, without time limits and ends.

    Operations come in the order in which Gymnasium's single environment has them, so that states are
    the very same numbers: chaotic ones would be others after a few hundred steps.
    """

    def __init__(self, env: Any) -> None:
        """Reads the constants of a single environment for which `covers` holds."""
        ...

    @staticmethod
    def covers(env: Any) -> bool:
        """Whether a single environment of this kind is set to something that is computed here."""
        ...

    def start(self, generator: np.random.Generator) -> Array:
        """Draws the state, of shape (state,), that Gymnasium's reset draws from the same generator."""
        ...

    def observe(self, states: Array) -> Array:
        """Observations of shape (envs, features), float32, of states of shape (state, envs)."""
        ...

    def step(self, states: Array, actions: Array) -> tuple[Array, Array, Array]:
        """One step.

        Args:
            states: States of shape (state, envs), float64; left as they are.
            actions: Actions of shape (envs, …), of the action space's kind and within it.

        Returns:
            The next states, the rewards and whether the episode ended there.
        """
        ...


def silent(env: gym.Env[Any, Any]) -> bool:
    """Whether nothing is to be drawn on a screen."""
    return env.render_mode is None


def squared(values: Array) -> Array:
    """What `value ** 2` gives for each value by itself: libm's power, not a product.

    They differ in the last bit of one value in a thousand.
    """
    result: Array = np.float_power(values, 2.0)
    return result


def seeded(seed: int) -> np.random.Generator:
    """The generator of a Gymnasium environment after `reset(seed=…)`."""
    generator: np.random.Generator = seeding.np_random(seed)[0]
    return generator


def starts(dynamics: Dynamics, generators: Sequence[np.random.Generator]) -> tuple[Array, Array]:
    """New episodes, each drawn from a generator of its own.

    Returns:
        States of shape (state, envs), float64, and observations.
    """
    drawn = np.stack([dynamics.start(generator) for generator in generators], axis=1)
    return drawn.astype(np.float64), dynamics.observe(drawn)
