"""Fresh episodes with given seeds -> returns.

One episode a seed, all finished: "the first N that finish" would favour short ones. Environments step
in one process, those with a native version as one; policies see the observations of all episodes that
are under way at once.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker
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
    """Finished episodes, one per seed.

    Attributes:
        seeds: Reset seed of each episode.
        returns: Undiscounted return of each episode.
        lengths: Env steps of each episode.
    """

    seeds: tuple[int, ...]
    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of episodes."""
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
        max_episode_steps: Steps after which an episode is cut.
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
        """Plays one episode per seed, each to its end.

        Args:
            policy: Acts; deterministic or not as it is built.
            seeds: Reset seeds of the episodes, ≥ 0.

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
        """Plays episodes; an environment whose episode is over begins the next one."""
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
