"""Environments of all members, stepped together; each member's draw from its own seed only."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from typing_extensions import override

from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.envs.native.dynamics import Array, seeded, starts
from rllib_ext.envs.native.registry import Native


@dataclasses.dataclass(frozen=True)
class Step:
    """The results of one action in each environment.

    Attributes:
        observations: After the step; of the next episode's start where one is over.
        rewards: The step's rewards.
        terminated: Whether the episode ended.
        truncated: Whether it was cut.
        last: By environment, the last observation of each episode that is over.
    """

    observations: Array
    rewards: Array
    terminated: Array
    truncated: Array
    last: dict[int, Array]


class Environments(Protocol):
    """`per_member` environments of each member, one member after the other."""

    per_member: int

    def reset(self, member: int, seed: int) -> Array:
        """Starts new episodes of one member.

        Args:
            member: Index of the member.
            seed: Fixes these and all later episodes of its environments.

        Returns:
            Observations of shape (per_member, …).
        """
        ...

    def step(self, actions: Array) -> Step:
        """Takes one action in each environment; arrays of shape (members · per_member, …)."""
        ...

    def close(self) -> None:
        """Closes them."""
        ...


class SingleEnvironments(Environments):
    """Environments of their own, each with a seed of its own.

    Args:
        make: Builds one.
        members: Number of members.
        per_member: Environments of each, ≥ 1.
        parallel: Whether each runs in a process of its own; otherwise they step one after the other. The
            episodes are the same. Worth it where a step takes longer than the way between processes.
    """

    def __init__(
        self, make: EnvMaker, members: int, per_member: int, *, parallel: bool = False
    ) -> None:
        self.per_member = per_member
        kind = AsyncVectorEnv if parallel else SyncVectorEnv
        # An episode's last observation is read after the next one has begun.
        copied = functools.partial(_copied, make)
        self._vector: VectorEnv[Any, Any, Any] = kind(
            [copied] * (members * per_member), autoreset_mode=AutoresetMode.SAME_STEP
        )
        # A vector of which only some are reset must have been reset before.
        self._vector.reset(seed=0)

    @override
    def reset(self, member: int, seed: int) -> Array:
        rows = rows_of_member(member, self.per_member)
        mask = np.zeros(self._vector.num_envs, dtype=np.bool_)
        mask[rows] = True
        seeds: list[int | None] = [None] * self._vector.num_envs
        seeds[rows] = seeds_of_member(seed, self.per_member)
        observations, _ = self._vector.reset(seed=seeds, options={"reset_mask": mask})
        fresh: Array = observations[rows]
        return fresh

    @override
    def step(self, actions: Array) -> Step:
        observations, rewards, terminated, truncated, infos = self._vector.step(actions)
        over = np.flatnonzero(terminated | truncated)
        last = {int(i): np.asarray(infos["final_obs"][i]) for i in over}
        return Step(observations, rewards, terminated, truncated, last)

    @override
    def close(self) -> None:
        self._vector.close()


class NativeEnvironments(Environments):
    """The same episodes as `SingleEnvironments`, of an environment that has a native version.

    Args:
        native: The native version of the environment.
        members: Number of members.
        per_member: Environments of each, ≥ 1.
    """

    def __init__(self, native: Native, members: int, per_member: int) -> None:
        self.per_member = per_member
        self._dynamics, self._limit = native.dynamics, native.limit
        seeds = range(members * per_member)
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        self._states, _ = starts(self._dynamics, self._generators)
        self._ages = np.zeros(len(self._generators), dtype=np.int64)

    @override
    def reset(self, member: int, seed: int) -> Array:
        rows = rows_of_member(member, self.per_member)
        self._generators[rows] = [seeded(s) for s in seeds_of_member(seed, self.per_member)]
        return self._start(np.arange(rows.start, rows.stop))

    @override
    def step(self, actions: Array) -> Step:
        self._states, rewards, terminated = self._dynamics.step(self._states, actions)
        self._ages += 1
        observations = self._dynamics.observe(self._states)
        truncated = self._ages >= self._limit
        over = np.flatnonzero(terminated | truncated)
        last = {int(i): observations[i].copy() for i in over}
        if last:
            observations[over] = self._start(over)
        return Step(observations, rewards, terminated, truncated, last)

    def close(self) -> None:
        """As `Environments.close`."""

    def _start(self, rows: Array) -> Array:
        self._ages[rows] = 0
        found, seen = starts(self._dynamics, [self._generators[row] for row in rows])
        self._states[:, rows] = found
        return seen


def _copied(make: EnvMaker) -> gym.Env[Any, Any]:
    return CopiedObservations(make())


def rows_of_member(member: int, per_member: int) -> slice:
    """A member's environments among all."""
    return slice(member * per_member, (member + 1) * per_member)


def seeds_of_member(seed: int, count: int) -> list[int]:
    """Seeds of a member's environments, in [0, 2³²)."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(count)]


def for_environment(space: gym.Space[Any], actions: Array, *, unsquash: bool, clip: bool) -> Array:
    """Actions as the environment takes them: what RLlib's connectors make of a sample.

    Args:
        space: The action space of one environment.
        actions: Drawn actions, of shape (envs, …).
        unsquash: Whether [−1, 1] stands for the space's bounds (`normalize_actions`).
        clip: Whether actions are clipped to the bounds otherwise (`clip_actions`).
    """
    if not isinstance(space, gym.spaces.Box):
        return actions
    # An environment may fail on NaN; the member is reported as failed all the same.
    actions = np.nan_to_num(actions)
    if unsquash and bool(np.all(space.bounded_below) and np.all(space.bounded_above)):
        actions = space.low + (actions + 1.0) * (space.high - space.low) / 2.0
    elif not clip or unsquash:
        return actions.astype(space.dtype)
    return np.clip(actions, space.low, space.high).astype(space.dtype)
