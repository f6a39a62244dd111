"""EnvPool's environments against Gymnasium's own."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from rllib_ext.envs.mujoco import quieten_mujoco
from rllib_ext.envs.pool import Pool, play_pool, pool_of
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import RandomPolicy

pytest.importorskip("envpool")

EPISODES = 4
# Samples' means may lie four standard errors apart. Means that are d standard deviations apart are told
# apart in 19 of 20 samples of n where d √(n ÷ 2) ≥ 5.7: 0.33 with 600, 0.57 with 200, 0.9 with 80.
SAMPLE = 600
ERRORS = 4.0


def maker(env, **arguments):
    quieten_mujoco(env)
    return lambda: gym.make(env, disable_env_checker=True, **arguments)


def put(env, seen):
    """Sets Gymnasium's environment to the state of which EnvPool's shows an observation."""
    inner, name = env.unwrapped, env.spec.id
    if name.startswith("CartPole"):
        inner.state = tuple(seen)
    elif name.startswith("MountainCar"):
        inner.state = seen
    elif name.startswith("Pendulum"):
        inner.state = np.array([np.arctan2(seen[1], seen[0]), seen[2]])
    elif name.startswith("Acrobot"):
        angles = np.arctan2(seen[1], seen[0]), np.arctan2(seen[3], seen[2])
        inner.state = np.array([*angles, seen[4], seen[5]])
    else:
        # Places are shown from the first that isn't a distance, which changes nothing; then speeds.
        places, speeds = inner.model.nq, inner.model.nv
        hidden = places + speeds - len(seen)
        start = np.zeros(places)
        start[hidden:] = seen[: places - hidden]
        inner.set_state(start, seen[places - hidden :])


@pytest.mark.parametrize(
    ("env", "steps", "tolerance"),
    [
        ("CartPole-v1", 500, 1e-5),
        ("MountainCar-v0", 200, 1e-5),
        ("MountainCarContinuous-v0", 300, 1e-5),
        ("Pendulum-v1", 25, 1e-4),
        ("Acrobot-v1", 100, 1e-4),
        # Chaotic: rounding grows by a factor of ten in ten steps.
        ("HalfCheetah-v5", 40, 1e-4),
        ("Hopper-v5", 200, 1e-6),
        ("Walker2d-v5", 200, 1e-6),
        ("Swimmer-v5", 200, 1e-6),
    ],
)
def test_the_same_start_and_actions_give_the_same_episode(env, steps, tolerance):
    pool = pool_of(maker(env))
    stepped, single = pool.build(range(0, 2 * EPISODES, 2)), maker(env)()
    single.action_space.seed(3)
    firsts = stepped.reset(np.arange(EPISODES))
    assert len(np.unique(firsts, axis=0)) == EPISODES
    ended = 0
    for i in range(EPISODES):
        single.reset()
        put(single, firsts[i].astype(np.float64))
        for _ in range(steps):
            action = single.action_space.sample()
            seen = stepped.step(np.array([i]), np.array([action]))
            expected, reward, terminated, truncated, _ = single.step(action)
            np.testing.assert_allclose(seen.observations[0], expected, atol=tolerance)
            assert seen.rewards[0] == pytest.approx(reward, rel=1e-4, abs=tolerance)
            assert (seen.terminated[0], seen.truncated[0]) == (terminated, truncated)
            if terminated or truncated:
                ended += 1
                break
    assert ended == (EPISODES if env in ("CartPole-v1", "MountainCar-v0", "Hopper-v5") else ended)


@pytest.mark.parametrize(
    "env", ["CartPole-v1", "Acrobot-v1", "HalfCheetah-v5", "Hopper-v5", "LunarLander-v3"]
)
def test_episodes_begin_as_gymnasium_s_do(env):
    stepped = pool_of(maker(env)).build(range(0, 2 * SAMPLE, 2))
    single = maker(env)()
    ours = np.array([single.reset(seed=i)[0] for i in range(SAMPLE)])
    assert_alike(stepped.reset(np.arange(SAMPLE)), ours)


@pytest.mark.parametrize(
    ("env", "count", "limit"),
    [("LunarLander-v3", 200, 150), ("Hopper-v5", 150, 60), ("BipedalWalker-v3", 80, 30)],
)
def test_episodes_at_random_are_alike(env, count, limit):
    """Where a start can't be set: returns and lengths, their means and their spread."""
    make = maker(env, max_episode_steps=limit)
    policy = RandomPolicy(make().action_space)
    policy.begin(range(count))
    found = np.array(play_pool(pool_of(make), policy.act, range(0, 2 * count, 2), 64)).T
    episodes = Evaluator(make).run(policy, range(count))
    assert_alike(found, np.array([episodes.returns, episodes.lengths]).T)


def assert_alike(one, other):
    """Means and standard deviations of columns lie within four standard errors of each other."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    for statistic in (lambda x: x, lambda x: np.abs(x - np.median(x, axis=0))):
        first, second = statistic(one), statistic(other)
        error = np.sqrt(first.var(axis=0) / len(first) + second.var(axis=0) / len(second))
        assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) <= ERRORS * error + 1e-6).all()


@pytest.mark.parametrize("width", [2, 5, 64])
def test_an_episode_depends_on_its_seed_alone(width):
    pool = pool_of(maker("LunarLander-v3"))
    seeds = (8, 20, 8, 34, 2)

    def act(episodes, observations, rewards):
        return np.argmax(np.asarray(observations)[:, :4], axis=1)

    returns, lengths = play_pool(pool, act, seeds, width)
    assert (returns[0], lengths[0]) == (returns[2], lengths[2])
    assert len(set(returns)) == 4
    for i, seed in enumerate(seeds):
        assert play_pool(pool, act, [seed], 1) == ([returns[i]], [lengths[i]])


def test_episodes_are_evaluated_in_the_pool_and_cut_where_gymnasium_cuts():
    make = maker("Pendulum-v1", max_episode_steps=30)
    policy = RandomPolicy(make().action_space)
    found = Evaluator(make, pool=pool_of(make)).run(policy, range(0, 20, 2))
    assert found.lengths == (30,) * 10
    assert found.seeds == tuple(range(0, 20, 2))
    assert np.mean(found.returns) == pytest.approx(
        Evaluator(make).run(policy, range(100)).mean, rel=0.35
    )


class Heavier(CartPoleEnv):
    """Another environment."""


gym.register("Heavier-v0", Heavier, max_episode_steps=500)


def weaker(env, **attributes):
    """Makes an environment, then changes it, as one's own functions do."""

    def make():
        made = maker(env)()
        for path, value in attributes.items():
            *parents, name = path.split("__")
            setattr(functools.reduce(getattr, parents, made.unwrapped), name, value)
        return made

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (maker("LunarLander-v3", gravity=-5.0), "doesn't take env_config: gravity"),
        (lambda: gym.wrappers.TransformReward(gym.make("Acrobot-v1"), abs), "TransformReward"),
        (lambda: gym.make("Acrobot-v1").unwrapped, "without a time limit"),
        (maker("Heavier-v0"), "Gymnasium's own environments"),
        (maker("Blackjack-v1"), "classic_control, box2d, mujoco only"),
        (CartPoleEnv, "Gymnasium's own environments"),
        (weaker("MountainCarContinuous-v0", power=0.001), "after gymnasium.make: power"),
        (weaker("Hopper-v5", model__opt__gravity=np.array([0.0, 0.0, -5.0])), "an episode shows"),
    ],
)
def test_what_envpool_does_not_have_is_said(make, why):
    assert why in pool_of(make)


def test_a_function_that_changes_nothing_has_the_environment_of_its_id():
    assert pool_of(weaker("MountainCarContinuous-v0")) == Pool("MountainCarContinuous-v0", 999)
    assert pool_of(weaker("LunarLander-v3", render_mode=None)) == Pool("LunarLander-v3", 1000)


def test_a_time_limit_of_one_s_own_is_kept():
    assert pool_of(maker("Hopper-v5", max_episode_steps=77)) == Pool("Hopper-v5", 77)


def test_where_it_is_not_installed_the_mend_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "prunefront[envpool]" in pool_of(maker("Hopper-v5"))
