"""Environments of all members from EnvPool; each member's draw from its own seed only."""

from __future__ import annotations

import dataclasses

import numpy as np
from typing_extensions import override

from rllib_ext.envs.pool import Array, Pool, Stepped
from rllib_ext.packed.environments import Environments, Step, rows_of_member, seeds_of_member


@dataclasses.dataclass
class _Generation:
    """Members that began together, in one pool: a pool's seeds are given when it is built.

    Attributes:
        stepped: The pool.
        members: Those that have not begun anew since.
        places: The index of each of its environments among all.
        envs: Indices in the pool of the environments of `members`.
        rows: Their indices among all environments.
    """

    stepped: Stepped
    members: set[int]
    places: Array
    envs: Array
    rows: Array


class PooledEnvironments(Environments):
    """Environments of EnvPool.

    A time limit that falls on an episode's very end counts as a cut.

    Args:
        pool: The environment.
        members: Number of members.
        per_member: Environments of each, ≥ 1.
    """

    def __init__(self, pool: Pool, members: int, per_member: int) -> None:
        self.per_member = per_member
        self._pool = pool
        self._count = members * per_member
        self._generations: list[_Generation] = []
        # Members that have begun since the last step, with their environments' seeds.
        self._begun: dict[int, list[int]] = {}

    @override
    def reset(self, member: int, seed: int) -> Array:
        seeds = seeds_of_member(seed, self.per_member)
        for generation in self._generations:
            if member in generation.members:
                generation.members.remove(member)
                self._narrow(generation)
        self._generations = [g for g in self._generations if g.members]
        self._begun[member] = seeds
        # Built again with those of the others that begin now: one pool of all is several times faster
        # than one a member, and the same seed gives the same episodes in each.
        return self._pool.build(seeds).reset(np.arange(self.per_member))

    @override
    def step(self, actions: Array) -> Step:
        self._gather()
        found: Step | None = None
        for generation in self._generations:
            rows = generation.rows
            seen = generation.stepped.step(generation.envs, actions[rows])
            observations = seen.observations
            over = np.flatnonzero(seen.terminated | seen.truncated)
            last = {int(rows[i]): observations[i].copy() for i in over}
            if len(over):
                observations = observations.copy()
                observations[over] = generation.stepped.reset(generation.envs[over])
            if len(rows) == self._count:
                return Step(observations, seen.rewards, seen.terminated, seen.truncated, last)
            if found is None:
                found = self._empty(observations)
            found.observations[rows], found.rewards[rows] = observations, seen.rewards
            found.terminated[rows], found.truncated[rows] = seen.terminated, seen.truncated
            found.last.update(last)
        assert found is not None, "members are started before they are stepped"
        return dataclasses.replace(found, last=dict(sorted(found.last.items())))

    @override
    def close(self) -> None:
        self._generations.clear()

    def _empty(self, like: Array) -> Step:
        """Environments of members that haven't begun show zeros."""
        return Step(
            np.zeros((self._count, *like.shape[1:]), dtype=like.dtype),
            np.zeros(self._count),
            np.zeros(self._count, dtype=bool),
            np.zeros(self._count, dtype=bool),
            {},
        )

    def _gather(self) -> None:
        """Puts the members that have begun into one pool."""
        if not self._begun:
            return
        members = sorted(self._begun)
        stepped = self._pool.build([seed for member in members for seed in self._begun[member]])
        stepped.reset(np.arange(len(stepped)))
        indices = np.arange(self._count)
        places = np.concatenate([indices[rows_of_member(m, self.per_member)] for m in members])
        # EnvPool's own type of index.
        envs = np.arange(len(places), dtype=np.int32)
        self._generations.append(_Generation(stepped, set(members), places, envs, places))
        self._begun.clear()

    def _narrow(self, generation: _Generation) -> None:
        members = generation.places // self.per_member
        generation.envs = np.flatnonzero(np.isin(members, list(generation.members))).astype(
            np.int32
        )
        generation.rows = generation.places[generation.envs]
