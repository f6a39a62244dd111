"""Environments of all members, stepped together; each member's draw from its own seed only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import VectorizeMode
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.utils import seeding
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from rllib_ext.evaluate import EnvMaker
from rllib_ext.pruning.errors import ConfigError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Step:
    """What came of one action in each environment.

    Attributes:
        observations: After the step; of the next episode's start where one is over.
        rewards: Of the step.
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
            member: It.
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


class SingleEnvironments:
    """Environments of their own, each with a seed of its own.

    Args:
        make: Builds one.
        members: How many members.
        per_member: Environments of each, ≥ 1.
        parallel: Whether each runs in a process of its own; otherwise they step one after the other. The
            episodes are the same. Worth it where a step takes longer than the way between processes.
    """

    def __init__(
        self, make: EnvMaker, members: int, per_member: int, *, parallel: bool = False
    ) -> None:
        self.per_member = per_member
        kind = AsyncVectorEnv if parallel else SyncVectorEnv
        self._vector: VectorEnv[Any, Any, Any] = kind(
            [make] * (members * per_member), autoreset_mode=AutoresetMode.SAME_STEP
        )
        # A vector of which only some are reset must have been reset before.
        self._vector.reset(seed=0)

    def reset(self, member: int, seed: int) -> Array:
        """As `Environments.reset`."""
        rows = _rows(member, self.per_member)
        mask = np.zeros(self._vector.num_envs, dtype=np.bool_)
        mask[rows] = True
        seeds: list[int | None] = [None] * self._vector.num_envs
        seeds[rows] = [int(s) for s in np.random.SeedSequence(seed).generate_state(self.per_member)]
        observations, _ = self._vector.reset(seed=seeds, options={"reset_mask": mask})
        fresh: Array = observations[rows]
        return fresh

    def step(self, actions: Array) -> Step:
        """As `Environments.step`."""
        observations, rewards, terminated, truncated, infos = self._vector.step(actions)
        over = np.flatnonzero(terminated | truncated)
        last = {int(i): np.asarray(infos["final_obs"][i]) for i in over}
        return Step(observations, rewards, terminated, truncated, last)

    def close(self) -> None:
        """As `Environments.close`."""
        self._vector.close()


class CartPoleEnvironments:
    """Gymnasium's vectorised CartPole, with starts drawn from each member's own generator.

    Args:
        members: How many members.
        per_member: Environments of each, ≥ 1.
        max_episode_steps: The time limit.
        sutton_barto_reward: As in Gymnasium.
    """

    def __init__(
        self,
        members: int,
        per_member: int,
        max_episode_steps: int,
        *,
        sutton_barto_reward: bool = False,
    ) -> None:
        self.per_member = per_member
        self._vector = CartPoleVectorEnv(
            members * per_member, max_episode_steps, sutton_barto_reward=sutton_barto_reward
        )
        self._vector.reset(seed=0)
        self._vector.action_space = _Anything()
        self._generators = [np.random.default_rng(0) for _ in range(members)]

    def reset(self, member: int, seed: int) -> Array:
        """As `Environments.reset`."""
        self._generators[member] = np.random.default_rng(seed)
        rows = _rows(member, self.per_member)
        self._start(np.arange(rows.start, rows.stop))
        fresh: Array = self._vector.state[:, rows].T.astype(np.float32)
        return fresh

    def step(self, actions: Array) -> Step:
        """As `Environments.step`."""
        observations, rewards, terminated, truncated, _ = self._vector.step(actions)
        over = np.flatnonzero(terminated | truncated)
        last = {int(i): observations[i].copy() for i in over}
        if last:
            self._start(over)
            observations[over] = self._vector.state[:, over].T
        return Step(observations, rewards, terminated, truncated, last)

    def close(self) -> None:
        """As `Environments.close`."""
        self._vector.close()

    def _start(self, rows: Array) -> None:
        # Gymnasium would start the next episode with the next step, from one generator for all.
        vector = self._vector
        for row in rows:
            generator = self._generators[row // self.per_member]
            vector.state[:, row] = generator.uniform(vector.low, vector.high, size=4)
        vector.steps[rows] = 0
        vector.prev_done[rows] = False


class _Anything:
    """Stands for the action space whose check takes longer than the step itself."""

    def contains(self, actions: Array) -> bool:
        return True


def cartpole_starts(seeds: Sequence[int]) -> Array:
    """The states in which Gymnasium's CartPole starts after `reset(seed=…)`, of shape (4, seeds)."""
    generators = [seeding.np_random(int(seed))[0] for seed in seeds]
    return np.stack([g.uniform(-0.05, 0.05, size=4) for g in generators], axis=1)


def vectorize_mode_of(mode: str | VectorizeMode, make: EnvMaker) -> VectorizeMode:
    """How environments are stepped, as RLlib names it (`env_runners.gym_env_vectorize_mode`).

    Args:
        mode: "sync", "async" or "vector_entry_point".
        make: Builds one environment.

    Returns:
        The mode; "vector_entry_point" instead of "sync" for Gymnasium's own CartPole.

    Raises:
        ConfigError: There is no such mode, or no vectorised version of the environment.
    """
    try:
        found = VectorizeMode(mode)
    except ValueError as error:
        known = ", ".join(each.value for each in VectorizeMode)
        raise ConfigError(f"gym_env_vectorize_mode = {mode!r}; expected one of {known}.") from error
    if found == VectorizeMode.ASYNC:
        return found
    if plain_cartpole(make)[0] is not None:
        return VectorizeMode.VECTOR_ENTRY_POINT
    if found == VectorizeMode.VECTOR_ENTRY_POINT:
        raise ConfigError(
            "gym_env_vectorize_mode = 'vector_entry_point': a pack has a vectorised version of "
            "Gymnasium's own CartPole only, since one generator for all episodes would tie members to "
            "each other. Set 'sync' or 'async'."
        )
    return found


def build_environments(
    make: EnvMaker, members: int, per_member: int, mode: VectorizeMode
) -> Environments:
    """Builds environments.

    Args:
        make: Builds one environment.
        members: How many members.
        per_member: Environments of each, ≥ 1.
        mode: As `vectorize_mode_of` gives it for `make`.
    """
    if mode != VectorizeMode.VECTOR_ENTRY_POINT:
        return SingleEnvironments(make, members, per_member, parallel=mode == VectorizeMode.ASYNC)
    limit, reward = plain_cartpole(make)
    assert limit is not None, "the mode says that it is CartPole"
    return CartPoleEnvironments(members, per_member, limit, sutton_barto_reward=reward)


def plain_cartpole(make: EnvMaker) -> tuple[int | None, bool]:
    """Whether `make` builds Gymnasium's own CartPole.

    Returns:
        Its time limit, None if it is another environment; and its `sutton_barto_reward`.
    """
    env = make()
    try:
        return _plain_cartpole(env)
    finally:
        env.close()


def _plain_cartpole(env: gym.Env[Any, Any]) -> tuple[int | None, bool]:
    limit: int | None = None
    while isinstance(env, gym.Wrapper):
        if type(env) is TimeLimit and limit is None:
            limit = int(env._max_episode_steps)
        elif type(env).__name__ not in ("OrderEnforcing", "PassiveEnvChecker"):
            return None, False
        env = env.env
    if type(env) is not CartPoleEnv:
        return None, False
    return limit, bool(env._sutton_barto_reward)


def _rows(member: int, per_member: int) -> slice:
    return slice(member * per_member, (member + 1) * per_member)


def for_environment(space: gym.Space[Any], actions: Array, *, unsquash: bool, clip: bool) -> Array:
    """Actions as the environment takes them: what RLlib's connectors make of a sample.

    Args:
        space: The action space of one environment.
        actions: As drawn, of shape (envs, …).
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
