"""The interface of native environments, and helpers that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding

Array = np.ndarray[Any, np.dtype[Any]]


class Dynamics(Protocol):
    """Dynamics of one kind of environment, for many at a time, without time limits and resets.

    Operations are in the same order as in Gymnasium's single environment, so that states are exactly the
    same numbers: chaotic ones would diverge within a few hundred steps.
    """

    def __init__(self, env: Any) -> None:
        """Reads the constants of a single environment for which `covers` holds."""
        ...

    @staticmethod
    def covers(env: Any) -> bool:
        """Whether a single environment of this kind has only settings that are implemented here."""
        ...

    def start(self, generator: np.random.Generator) -> Array:
        """Draws the state, shape (state,), that Gymnasium's reset draws from the same generator."""
        ...

    def observe(self, states: Array) -> Array:
        """Returns observations of shape (envs, features), float32, of states of shape (state, envs)."""
        ...

    def step(self, states: Array, actions: Array) -> tuple[Array, Array, Array]:
        """Takes one step.

        Args:
            states: States of shape (state, envs), float64; left unchanged.
            actions: Actions of shape (envs, …), of the action space's kind and within its bounds.

        Returns:
            The next states, the rewards, and whether each episode ended.
        """
        ...


def silent(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment is not rendered."""
    return env.render_mode is None


def squared(values: Array) -> Array:
    """Squares each value as `value ** 2` does for a Python float: by libm's power, not a product.

    They differ in the last bit of one value in a thousand.
    """
    result: Array = np.float_power(values, 2.0)
    return result


def seeded(seed: int) -> np.random.Generator:
    """Returns the generator that a Gymnasium environment has after `reset(seed=…)`."""
    generator: np.random.Generator = seeding.np_random(seed)[0]
    return generator


def starts(dynamics: Dynamics, generators: Sequence[np.random.Generator]) -> tuple[Array, Array]:
    """Starts new episodes, each drawn from a generator of its own.

    Returns:
        States of shape (state, envs), float64, and observations.
    """
    drawn = np.stack([dynamics.start(generator) for generator in generators], axis=1)
    return drawn.astype(np.float64), dynamics.observe(drawn)
