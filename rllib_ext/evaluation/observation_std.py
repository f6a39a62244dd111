"""The standard deviation of a policy's observations: the unit of observation noise."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
import tree

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.evaluation.evaluator import Evaluator, Policy


def observation_std(policy: Policy, make: EnvMaker, seeds: Iterable[int]) -> Any:
    """Standard deviation of each component of the observations that a policy meets.

    Args:
        policy: Acts.
        make: Builds an undisturbed environment.
        seeds: One episode each.

    Returns:
        Arrays in the structure of an observation.
    """
    moments: list[_Moments] = []

    def recorded() -> gymnasium.Env[Any, Any]:
        env = _Recorder(CopiedObservations(make()))
        moments.append(env.moments)
        return env

    evaluator = Evaluator(recorded)
    try:
        evaluator.run(policy, seeds)
    finally:
        evaluator.close()
    return functools.reduce(_Moments.joined, moments).std()


class _Moments:
    """Count, mean and sum of squared deviations of each part of the observations of an environment.

    Welford 1962; joined as in Chan, Golub and LeVeque 1979.
    """

    def __init__(self) -> None:
        self.count = 0
        self.structure: Any = None
        self.means: list[Any] = []
        self.squares: list[Any] = []

    def add(self, observation: Any) -> None:
        parts = [np.asarray(part, dtype=np.float64) for part in tree.flatten(observation)]
        if not self.count:
            self.structure = observation
            self.means = [np.zeros_like(part) for part in parts]
            self.squares = [np.zeros_like(part) for part in parts]
        self.count += 1
        for i, part in enumerate(parts):
            off = part - self.means[i]
            self.means[i] = self.means[i] + off / self.count
            self.squares[i] = self.squares[i] + off * (part - self.means[i])

    def joined(self, other: _Moments) -> _Moments:
        if not self.count or not other.count:
            return self if self.count else other
        both = _Moments()
        both.structure, both.count = self.structure, self.count + other.count
        weight = self.count * other.count / both.count
        for mean, square, theirs, their_square in zip(
            self.means, self.squares, other.means, other.squares, strict=True
        ):
            both.means.append(mean + (theirs - mean) * other.count / both.count)
            both.squares.append(square + their_square + weight * (theirs - mean) ** 2)
        return both

    def std(self) -> Any:
        stds = [np.sqrt(square / self.count) for square in self.squares]
        return tree.unflatten_as(self.structure, stds)


class _Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.moments = _Moments()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.moments.add(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, *rest = self.env.step(action)
        self.moments.add(observation)
        return (observation, *rest)
