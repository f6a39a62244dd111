"""Policies that every other one is compared with: random ones, and the best constant action."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from typing_extensions import override

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.legal import nearest_legal, sampled
from rllib_ext.evaluation.evaluator import Episodes, Evaluator, Observations, Policy


class RandomPolicy(Policy):
    """Draws actions uniformly, of those that are legal, each episode from its own seed.

    Args:
        action_space: The environment's.
    """

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        self._space = action_space
        self._spaces: list[gymnasium.Space[Any]] = []

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        self._spaces = [_seeded(self._space, seed) for seed in seeds]

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> list[Any]:
        return [
            sampled(self._spaces[i], observation)
            for i, observation in zip(episodes, observations, strict=True)
        ]


def _seeded(space: gymnasium.Space[Any], seed: int) -> gymnasium.Space[Any]:
    """A copy that draws from its own stream, apart from an environment's that has the same seed."""
    space = copy.deepcopy(space)
    space.seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
    return space


class ConstantPolicy(Policy):
    """Takes the same action at every step, or the legal one nearest to it.

    Args:
        action: The action.
        action_space: The environment's; None: all actions are legal.
    """

    def __init__(self, action: Any, action_space: gymnasium.Space[Any] | None = None) -> None:
        self.action = action
        self._space = action_space

    def begin(self, seeds: Sequence[int]) -> None:
        """See `Policy.begin`."""

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> list[Any]:
        return [nearest_legal(self.action, self._space, seen) for seen in observations]


def constant_actions(space: gymnasium.Space[Any], most: int = 32) -> list[Any]:
    """Actions whose constant repetition is worth trying.

    Args:
        space: The action space.
        most: Maximum number of actions.

    Returns:
        All actions of a small discrete space, also of one in several parts; the lowest, middle and
        highest of a box; for other spaces, and what exceeds `most`, a sample that is the same at every
        call.
    """
    if _discrete_count(space) <= most:
        return _discrete_actions(space)
    if isinstance(space, gymnasium.spaces.Box):
        low = np.where(np.isfinite(space.low), space.low, -1.0).astype(space.dtype)
        high = np.where(np.isfinite(space.high), space.high, 1.0).astype(space.dtype)
        return [low, (low / 2 + high / 2).astype(space.dtype), high]
    space = _seeded(space, 0)
    return [space.sample() for _ in range(most)]


def _discrete_count(space: gymnasium.Space[Any]) -> float:
    """Returns the number of actions of a space; infinite if a part of it isn't discrete."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return float(np.prod(space.nvec, dtype=np.float64))
    if isinstance(space, gymnasium.spaces.Tuple):
        return math.prod(map(_discrete_count, space.spaces))
    if isinstance(space, gymnasium.spaces.Dict):
        return math.prod(map(_discrete_count, space.spaces.values()))
    return math.inf


def _discrete_actions(space: Any) -> list[Any]:
    """All actions of a space in which `_discrete_count` finds finitely many."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return [space.start + i for i in range(int(space.n))]
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return [space.start + np.array(i, space.dtype) for i in np.ndindex(*space.nvec)]
    if isinstance(space, gymnasium.spaces.Tuple):
        return list(itertools.product(*map(_discrete_actions, space.spaces)))
    combined = itertools.product(*map(_discrete_actions, space.spaces.values()))
    return [dict(zip(space.spaces, parts, strict=True)) for parts in combined]


def random_policy_episodes(config: AlgorithmConfig, seeds: Iterable[int]) -> Episodes:
    """Episodes of a policy that acts at random.

    Args:
        config: PPO configuration that names the environment.
        seeds: One episode each.
    """
    evaluator = Evaluator(env_maker(config))
    try:
        return evaluator.run(RandomPolicy(evaluator.action_space), seeds)
    finally:
        evaluator.close()


def best_constant_episodes(
    config: AlgorithmConfig, choose: Iterable[int], seeds: Iterable[int]
) -> tuple[Any, Episodes]:
    """The best action to repeat for ever, and its episodes.

    Args:
        config: PPO configuration that names the environment.
        choose: Seeds on which the action is chosen.
        seeds: Seeds of the returned episodes; others than `choose`, for an honest figure.

    Returns:
        The action and its episodes.
    """
    evaluator = Evaluator(env_maker(config))
    choose = tuple(choose)
    try:
        best_action, best_mean = None, -math.inf
        space = evaluator.action_space
        for action in constant_actions(space):
            mean = evaluator.run(ConstantPolicy(action, space), choose).mean
            if best_action is None or mean > best_mean:
                best_action, best_mean = action, mean
        return best_action, evaluator.run(ConstantPolicy(best_action, space), seeds)
    finally:
        evaluator.close()
