"""Fresh episodes with given seeds -> returns.

One episode a seed, all finished: "the first N that finish" would favour short ones. Environments step
in one process, those with a native version as one; policies see the observations of all episodes that
are under way at once.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import itertools
import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from typing_extensions import override

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker, env_maker
from rllib_ext.envs.legal import nearest_legal, sampled
from rllib_ext.envs.native.episodes import play
from rllib_ext.envs.native.registry import Native, native_version
from rllib_ext.envs.pool import Pool, play_pool

logger = logging.getLogger(__name__)

# An episode of an environment without a time limit is cut here.
MAX_EPISODE_STEPS = 50_000
# Single environments that are stepped in turn. More are slower, as their states leave a core's cache:
# HalfCheetah takes 40 µs a step with 1 to 64 of them, 61 µs with 128.
WIDTH = 64

# Arrays in native environments; policies may give arrays to all.
Observations = Sequence[Any] | np.ndarray[Any, np.dtype[Any]]
Actions = Sequence[Any] | np.ndarray[Any, np.dtype[Any]]


class Policy(Protocol):
    """Something that acts in several episodes at once."""

    def begin(self, seeds: Sequence[int]) -> None:
        """Starts as many episodes as there are seeds, numbered from 0."""
        ...

    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> Actions:
        """Actions for the environments.

        Args:
            episodes: Numbers of the episodes under way, ascending. Once an episode is left out, it is
                over; one that comes later has only begun.
            observations: The latest observation of each of them.
            rewards: The reward that came with it; 0 for the first.

        Returns:
            One action for each, ready for `env.step`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Finished episodes, one a seed.

    Attributes:
        seeds: What each environment was reset with.
        returns: Undiscounted return of each episode.
        lengths: Env steps of each episode.
    """

    seeds: tuple[int, ...]
    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many episodes."""
        return len(self.returns)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Sample standard deviation of the returns; 0 for a single episode."""
        return float(np.std(self.returns, ddof=1)) if self.count > 1 else 0.0

    def split(self, counts: Iterable[int]) -> list[Episodes]:
        """The first so many, then the next so many, and so on."""
        stops = list(itertools.accumulate(counts, initial=0))
        return [
            Episodes(self.seeds[i:j], self.returns[i:j], self.lengths[i:j])
            for i, j in itertools.pairwise(stops)
        ]


class Evaluator:
    """Runs policies in environments that are built once.

    Args:
        make: Builds one environment.
        max_episode_steps: Where an episode is cut that doesn't end.
        width: Episodes under way at once, ≥ 1; native environments play all of them at once.
        pool: EnvPool's version, which is stepped instead; None: the environments themselves.
    """

    def __init__(
        self,
        make: EnvMaker,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        width: int = WIDTH,
        pool: Pool | None = None,
    ) -> None:
        self._make = make
        self._pool = pool
        self._max_steps = max_episode_steps
        self._width = width
        self._envs: list[gymnasium.Env[Any, Any]] = []
        self._native: Native | None = None

    def run(self, policy: Policy, seeds: Iterable[int]) -> Episodes:
        """One episode a seed, all finished.

        Args:
            policy: Acts; deterministic or not as it is built.
            seeds: What the environments are reset with, ≥ 0.

        Returns:
            Returns and lengths in the order of the seeds.
        """
        seeds = tuple(int(seed) for seed in seeds)
        policy.begin(seeds)
        if self._pool is not None:
            returned, lasted = play_pool(self._pool, policy.act, seeds, self._width)
            return Episodes(seeds, tuple(returned), tuple(lasted))
        self._build(1)
        native = self._native
        if native is None:
            return self._run_singles(policy, seeds)
        limit = min(native.limit, self._max_steps)
        returns, lengths, ended = play(native.dynamics, policy.act, seeds, limit)
        for i in np.flatnonzero(~ended) if limit < native.limit else ():
            _warn_of_cut(seeds[i], limit)
        return Episodes(seeds, tuple(returns.tolist()), tuple(lengths.tolist()))

    def _run_singles(self, policy: Policy, seeds: tuple[int, ...]) -> Episodes:
        """Where an episode is over, its environment takes up the next one."""
        self._build(min(self._width, len(seeds)))
        returns = [0.0] * len(seeds)
        lengths = [0] * len(seeds)
        free = collections.deque(self._envs)
        waiting = collections.deque(range(len(seeds)))
        active: list[int] = []
        envs: list[gymnasium.Env[Any, Any]] = []
        observations: list[Any] = []
        rewards: list[float] = []
        while active or waiting:
            while free and waiting:
                active.append(waiting.popleft())
                envs.append(free.popleft())
                observations.append(envs[-1].reset(seed=seeds[active[-1]])[0])
                rewards.append(0.0)
            actions = policy.act(active, observations, rewards)
            played = zip(active, envs, actions, strict=True)
            active, envs, observations, rewards = [], [], [], []
            for i, env, action in played:
                observation, reward, terminated, truncated, _ = env.step(action)
                returns[i] += float(reward)
                lengths[i] += 1
                if lengths[i] >= self._max_steps and not (terminated or truncated):
                    _warn_of_cut(seeds[i], lengths[i])
                    truncated = True
                if terminated or truncated:
                    free.append(env)
                else:
                    active.append(i)
                    envs.append(env)
                    observations.append(observation)
                    rewards.append(float(reward))
        return Episodes(seeds, tuple(returns), tuple(lengths))

    def _build(self, count: int) -> None:
        """Builds what is missing to so many environments."""
        while len(self._envs) < count:
            env = self._make()
            if not self._envs:
                self._native = native_version(env, self._make)
            # Policies may keep what they see.
            self._envs.append(CopiedObservations(env))

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """The environments' action space."""
        self._build(1)
        return self._envs[0].action_space

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs:
            env.close()
        self._envs.clear()


def _warn_of_cut(seed: int, steps: int) -> None:
    logger.warning(
        "episode with seed %d was cut after %d steps: the environment has no time limit; give it "
        "max_episode_steps",
        seed,
        steps,
    )


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
        """As `Policy.begin`."""

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> list[Any]:
        return [nearest_legal(self.action, self._space, seen) for seen in observations]


def constant_actions(space: gymnasium.Space[Any], most: int = 32) -> list[Any]:
    """Actions whose constant repetition is worth trying.

    Args:
        space: The action space.
        most: How many at most.

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
    """How many actions a space has; infinite where a part of it isn't discrete."""
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
        config: Names the environment.
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
        config: Names the environment.
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
