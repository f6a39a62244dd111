"""Environments of EnvPool, which steps many of Gymnasium's at once in C++, two to four times as fast.

EnvPool (Weng et al. 2022) computes with single precision, or with another release of MuJoCo or
another build of Box2D: its episodes are similar, not the same. Published figures come from Gymnasium's
own environments; training may use these. A time limit that coincides with an episode's end counts as a
cut, and each environment is seeded when the pool is built and never again.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from rllib_ext.base.extras import install
from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.envs.mujoco import quieten_mujoco

Array = np.ndarray[Any, np.dtype[Any]]

# Families in which EnvPool follows Gymnasium's environments of the same id.
FAMILIES = ("classic_control", "box2d", "mujoco")
# Number of steps compared to detect an environment that was changed after it was made.
COMPARED = 8


@dataclasses.dataclass(frozen=True)
class Pool:
    """An environment that EnvPool provides.

    Attributes:
        id: Id of the environment, the same in Gymnasium and EnvPool.
        limit: Steps after which an episode is cut.
    """

    id: str
    limit: int

    def build(self, seeds: Sequence[int], threads: int = 1) -> Stepped:
        """Builds environments, each with a seed of its own that fixes all of its episodes.

        Args:
            seeds: One seed per environment, ≥ 0; EnvPool takes their upper 31 bits of 32, so that 2k and
                2k + 1 give the same episodes.
            threads: Number of threads that step them.
        """
        import envpool

        return Stepped(
            envpool.make(
                self.id,
                env_type="gymnasium",
                num_envs=len(seeds),
                num_threads=threads,
                max_episode_steps=self.limit,
                env_seed=[(int(seed) >> 1) & 0x7FFFFFFF for seed in seeds],
            )
        )


@dataclasses.dataclass(frozen=True)
class Seen:
    """Results of one step in some environments.

    Attributes:
        observations: Observations after the step, of the episode that was under way.
        rewards: Rewards of the step.
        terminated: Whether each episode ended.
        truncated: Whether each episode was cut.
    """

    observations: Array
    rewards: Array
    terminated: Array
    truncated: Array


class Stepped:
    """The environments of one pool, of which each call steps only those that it names.

    Args:
        pool: EnvPool's pool.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._dtype = pool.action_space.dtype

    def __len__(self) -> int:
        return len(self._pool)

    def reset(self, envs: Array) -> Array:
        """Begins the next episode of some environments and returns their first observations.

        Called as soon as an episode is over, it saves the step that EnvPool would skip.

        Args:
            envs: Indices of the environments.
        """
        observations, info = self._pool.reset(envs.astype(np.int32, copy=False))
        order = _order(info["env_id"], envs)
        first: Array = observations if order is None else observations[order]
        return first

    def step(self, envs: Array, actions: Array) -> Seen:
        """Takes a step in some environments.

        Args:
            envs: Indices of the environments.
            actions: One action for each.
        """
        given = np.asarray(actions).astype(self._dtype, copy=False)
        *seen, info = self._pool.step(given, envs.astype(np.int32, copy=False))
        order = _order(info["env_id"], envs)
        if order is not None:
            seen = [values[order] for values in seen]
        observations, rewards, terminated, truncated = seen
        return Seen(observations, rewards.astype(np.float64), terminated, truncated)


def _order(given: Array, wanted: Array) -> Array | None:
    """Returns the indices that put results into the wanted order, or None if they are in it."""
    if (given == wanted).all():
        return None
    order: Array = np.argsort(given)[np.argsort(np.argsort(wanted))]
    return order


def pool_of(make: EnvMaker) -> Pool | str:
    """Returns EnvPool's version of what `make` builds, or the reason why there is none."""
    if importlib.util.find_spec("envpool") is None:
        return f"EnvPool is not installed: {install('envpool')}"
    env = make()
    try:
        return _pool_of(env)
    finally:
        env.close()


def _pool_of(env: gym.Env[Any, Any]) -> Pool | str:
    limits: list[int] = []
    while isinstance(env, gym.Wrapper):
        if type(env) is TimeLimit:
            limits.append(int(env._max_episode_steps))
        elif type(env) not in (OrderEnforcing, PassiveEnvChecker):
            return f"EnvPool knows nothing of the wrapper {type(env).__name__}"
        env = env.env
    spec = env.spec
    family = type(env).__module__.removeprefix("gymnasium.envs.").partition(".")[0]
    if spec is None or family not in FAMILIES or not _is_own(spec):
        return (
            f"EnvPool has Gymnasium's own environments of {', '.join(FAMILIES)} only, and this one is "
            f"{type(env).__module__}.{type(env).__qualname__}"
        )
    usual = gym.registry[spec.id].kwargs
    changed = sorted(k for k, v in spec.kwargs.items() if k != "render_mode" and usual.get(k) != v)
    if changed:
        return f"EnvPool's version doesn't take env_config: {', '.join(changed)}"
    if env.render_mode is not None:
        return "EnvPool draws nothing on a screen"
    if not limits:
        return "without a time limit, EnvPool's version cuts its episodes at one of its own"
    import envpool

    if spec.id not in envpool.list_all_envs():
        return f"EnvPool has no {spec.id}"
    if altered := _altered(env, spec):
        return f"EnvPool's version has nothing of what was changed after gymnasium.make: {altered}"
    return Pool(spec.id, min(limits))


def _altered(env: gym.Env[Any, Any], spec: Any) -> str:
    """Describes what was changed in an environment since Gymnasium made it; empty if nothing shows."""
    quieten_mujoco(spec.id)
    usual = gym.make(spec.id, disable_env_checker=True, **spec.kwargs).unwrapped
    try:
        numbers = {n: v for n, v in vars(env).items() if isinstance(v, int | float)}
        changed = sorted(n for n, v in numbers.items() if v != getattr(usual, n, v))
        if changed:
            return ", ".join(changed)
        usual.action_space.seed(0)
        actions = [usual.action_space.sample() for _ in range(COMPARED)]
        ours, theirs = _shown(env, actions), _shown(usual, actions)
        return "" if np.array_equal(ours, theirs) else "an episode shows something else"
    finally:
        usual.close()


def _shown(env: gym.Env[Any, Any], actions: Sequence[Any]) -> Array:
    """Plays an episode and returns its observations and rewards, concatenated."""
    parts = [np.ravel(env.reset(seed=0)[0])]
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        parts += [np.ravel(observation), np.array([float(reward)])]
        if terminated:
            break
    return np.concatenate(parts)


def _is_own(spec: Any) -> bool:
    known = gym.registry.get(spec.id)
    return known is not None and known.entry_point == spec.entry_point


def play_pool(
    pool: Pool, act: Any, seeds: Sequence[int], width: int
) -> tuple[list[float], list[int]]:
    """Plays one episode per seed, each until it ends or is cut.

    Args:
        pool: The environment.
        act: Returns actions for episode indices, observations and rewards, as
            `rllib_ext.evaluation.evaluator.Policy.act` does.
        seeds: One seed per episode; 2k and 2k + 1 give the same one.
        width: Number of episodes under way at once, ≥ 1.

    Returns:
        Undiscounted returns and lengths, in the seeds' order.
    """
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.int64)
    for start in range(0, len(seeds), width):
        stepped = pool.build(seeds[start : start + width])
        going = np.arange(len(stepped))
        observations, rewards = stepped.reset(going), np.zeros(len(going))
        while len(going):
            episodes = start + going
            actions = np.asarray(act(episodes.tolist(), observations, rewards.tolist()))
            seen = stepped.step(going, actions)
            returns[episodes] += seen.rewards
            lengths[episodes] += 1
            left = ~(seen.terminated | seen.truncated)
            going, observations, rewards = going[left], seen.observations[left], seen.rewards[left]
    return returns.tolist(), lengths.tolist()
