"""Packs in EnvPool's environments."""

import gymnasium as gym
import numpy as np
import pytest
from packs import started

from rllib_ext.envs.mujoco import quieten_mujoco
from rllib_ext.envs.pool import pool_of
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.environments import NativeEnvironments, SingleEnvironments
from rllib_ext.packed.pooled import PooledEnvironments
from rllib_ext.packed.vectorize import build_environments, vectorize_of, with_vectorize
from rllib_ext.pruning.errors import ConfigError

pytest.importorskip("envpool")


def maker(env, **arguments):
    quieten_mujoco(env)
    return lambda config=None: gym.make(env, disable_env_checker=True, **arguments)


def shown(environments, members, watched, seeds, restarts=()):
    """What one member sees, whatever the others do and when they begin anew."""
    width = environments.per_member
    rows = slice(watched * width, (watched + 1) * width)
    seen = [environments.reset(member, seed) for member, seed in enumerate(seeds)][watched:][:1]
    rng = np.random.default_rng(1)
    others = np.random.default_rng(len(seeds))
    for turn in range(80):
        actions = others.integers(0, 2, members * width)
        actions[rows] = rng.integers(0, 2, width)
        for member, at in restarts:
            if turn == at:
                environments.reset(member, seed=50 + turn)
        step = environments.step(actions)
        seen += [step.observations[rows], step.rewards[rows], step.terminated[rows]]
        seen += [last for i, last in sorted(step.last.items()) if rows.start <= i < rows.stop]
    return seen


def test_a_member_s_episodes_depend_on_its_own_seed_only():
    pool = pool_of(maker("CartPole-v1"))
    alone = shown(PooledEnvironments(pool, 1, 3), 1, 0, (7,))
    restarts = ((0, 10), (1, 10), (0, 30), (1, 55))
    together = shown(PooledEnvironments(pool, 3, 3), 3, 2, (5, 6, 7), restarts)
    assert len(alone) == len(together) > 3 * 80
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    other = shown(PooledEnvironments(pool, 1, 3), 1, 0, (8,))
    assert not np.array_equal(alone[0], other[0])


def test_members_that_begin_together_share_a_pool_and_old_ones_go():
    environments = PooledEnvironments(pool_of(maker("CartPole-v1")), 3, 2)
    for member in range(3):
        environments.reset(member, seed=member)
    actions = np.zeros(6, dtype=np.int64)
    for turn, (restarted, pools) in enumerate(
        [([], 1), ([1], 2), ([1], 2), ([0, 2], 2), ([0, 1, 2], 1)]
    ):
        firsts = [environments.reset(member, seed=9 + turn) for member in restarted]
        step = environments.step(actions)
        assert len(environments._generations) == pools
        assert all(step.rewards == 1.0)
        for member, first in zip(restarted, firsts, strict=True):
            # The cart has moved on from the very start that was shown.
            rows = slice(2 * member, 2 * member + 2)
            moved = step.observations[rows, 0] - first[:, 0]
            np.testing.assert_allclose(moved, 0.02 * first[:, 1], atol=1e-6)


@pytest.mark.parametrize("limit", [12, 200])
def test_the_next_episode_begins_in_the_step_in_which_one_ends(limit):
    """As in single environments: the last observation is kept, for values of cut episodes."""
    make = maker("CartPole-v1", max_episode_steps=limit)
    environments = PooledEnvironments(pool_of(make), 2, 4)
    for member in range(2):
        environments.reset(member, seed=member)
    ages, ends, cuts = np.zeros(8, dtype=int), 0, 0
    rng = np.random.default_rng(0)
    for _ in range(150):
        step = environments.step(rng.integers(0, 2, 8))
        ages += 1
        over = step.terminated | step.truncated
        assert list(step.last) == np.flatnonzero(over).tolist()
        np.testing.assert_array_equal(step.rewards, 1.0)
        np.testing.assert_array_equal(step.truncated, (ages == limit))
        for i, last in step.last.items():
            assert np.abs(step.observations[i]).max() <= 0.05
            fallen = abs(last[2]) > 0.20943 or abs(last[0]) > 2.4
            assert fallen == step.terminated[i] or step.truncated[i]
            assert np.abs(last).max() > 0.05
        ends, cuts = ends + step.terminated.sum(), cuts + step.truncated.sum()
        ages[over] = 0
    assert (cuts > 20) == (limit == 12)
    assert ends > 5


def test_what_is_asked_for_is_what_is_stepped_or_refused():
    def built(make, asked):
        return type(build_environments(make, 1, 2, vectorize_of(asked, make)))

    lander, cartpole = maker("LunarLander-v3"), maker("CartPole-v1")
    other = maker("LunarLander-v3", gravity=-5.0)
    assert built(cartpole, "auto") is NativeEnvironments
    assert built(cartpole, "envpool") is PooledEnvironments
    assert built(lander, "auto") is PooledEnvironments
    assert built(lander, "sync") is SingleEnvironments
    assert built(other, "auto") is SingleEnvironments
    with pytest.raises(ConfigError, match=r"gravity.*Set 'auto' or 'sync'"):
        vectorize_of("envpool", other)
    with pytest.raises(ConfigError, match="native versions of Gymnasium's own CartPole"):
        vectorize_of("native", lander)


@pytest.mark.parametrize("env", ["LunarLander-v3", "HalfCheetah-v5"])
def test_a_pack_trains_and_is_evaluated_in_envpool(packed_ppo, env):
    make = maker(env, max_episode_steps=60)
    ppo = with_vectorize(packed_ppo(make), "envpool")
    assert blueprint_of(ppo).vectorize == "envpool"
    assert blueprint_of(packed_ppo(make)).vectorize == "sync"
    results, found = [], []
    for members in (2, 1):
        pack = started(ppo, members=members, iterations=3)
        results.append(pack.train()[0])
        found.append(pack.evaluate(dict.fromkeys(range(members), (4, 8, 12))))
    # A member's training doesn't depend on who is beside it.
    assert results[0]["env_steps"] == results[1]["env_steps"]
    np.testing.assert_allclose(found[0][0].returns, found[1][0].returns, rtol=0.05)
    assert found[0][0].seeds == (4, 8, 12)
    # Gymnasium's episodes of these seeds are others, of the same length at most.
    published = Evaluator(make).run(pack.policy(0).policy(), (4, 8, 12))
    assert published.returns != found[1][0].returns
    assert max(published.lengths) <= 60
