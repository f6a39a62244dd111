"""Native environments against Gymnasium's single ones, bit by bit."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

from rllib_ext.envs.native.dynamics import seeded, starts
from rllib_ext.envs.native.registry import KINDS, native_of
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import RandomPolicy
from rllib_ext.packed.vectorize import build_environments, vectorize_of

IDS = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1")


def maker(env, **arguments):
    return lambda: gym.make(env, disable_env_checker=True, **arguments)


def heavy_cartpole():
    env = gym.make("CartPole-v1")
    env.unwrapped.gravity, env.unwrapped.length = 15.0, 0.7
    return env


def short_acrobot():
    env = gym.make("Acrobot-v1")
    env.unwrapped.LINK_LENGTH_1, env.unwrapped.LINK_MASS_2, env.unwrapped.MAX_VEL_1 = 0.7, 1.3, 2.0
    return env


def set_to(env, **values):
    def make():
        made = gym.make(env)
        for name, value in values.items():
            setattr(made.unwrapped, name, value)
        return made

    return make


@pytest.mark.parametrize(
    "make",
    [
        *(maker(env) for env in IDS),
        maker("CartPole-v1", sutton_barto_reward=True),
        heavy_cartpole,
        short_acrobot,
        maker("Pendulum-v1", g=9.81),
    ],
    ids=[*IDS, "rewarded otherwise", "heavy", "short", "lighter"],
)
def test_steps_from_random_states_are_gymnasium_s(make):
    single = make().unwrapped
    dynamics = native_of(make).dynamics
    rng = np.random.default_rng(0)
    drawn = starts(dynamics, [rng] * 400)[0]
    # From about the start to beyond all bounds; angles are wrapped from both sides.
    states = drawn / np.abs(drawn).max(axis=1, keepdims=True)
    states *= rng.choice([0.1, 1.0, 3.0, 9.0], size=(1, 400))
    single.action_space.seed(0)
    actions = np.stack([single.action_space.sample() for _ in range(400)])
    following, rewards, terminated = dynamics.step(states.copy(), actions)
    seen = dynamics.observe(following)
    for i in range(400):
        single.reset()
        single.state = states[:, i].copy()
        action = actions[i] if actions.ndim > 1 else int(actions[i])
        observation, reward, ended, _, _ = single.step(action)
        np.testing.assert_array_equal(following[:, i], single.state)
        np.testing.assert_array_equal(seen[i], observation)
        # Gymnasium rounds a torque's square to another last bit.
        assert rewards[i] == pytest.approx(reward, rel=1e-9)
        assert bool(terminated[i]) == ended
    assert seen.dtype == np.float32
    assert rewards.dtype == states.dtype == np.float64


@pytest.mark.parametrize("env", IDS)
def test_whole_episodes_with_a_seed_are_gymnasium_s(env):
    make = maker(env)
    single, native = make(), native_of(make)
    assert native.limit == single.spec.max_episode_steps
    for seed in (0, 3, 12345678901):
        generator = seeded(seed)
        states, observations = starts(native.dynamics, [generator])
        observation, _ = single.reset(seed=seed)
        single.action_space.seed(seed % 1000)
        for _ in range(native.limit):
            np.testing.assert_array_equal(observations[0], observation)
            action = single.action_space.sample()
            observation, _, ended, _, _ = single.step(action)
            states, _, terminated = native.dynamics.step(states, np.asarray(action)[None])
            observations = native.dynamics.observe(states)
            assert bool(terminated[0]) == ended
            if ended:
                break
        again = starts(native.dynamics, [generator])[1][0]
        np.testing.assert_array_equal(again, single.reset()[0])


@pytest.mark.parametrize(
    "make",
    [
        maker("MountainCar-v0"),
        lambda: gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda r: 2 * r),
        lambda: gym.make("Acrobot-v1").unwrapped,
        maker("CartPole-v1", render_mode="rgb_array"),
        set_to("CartPole-v1", kinematics_integrator="semi-implicit"),
        set_to("Acrobot-v1", book_or_nips="nips"),
        set_to("Acrobot-v1", torque_noise_max=0.1),
    ],
    ids=["other", "wrapped", "unlimited", "shown", "integrator", "nips", "noise"],
)
def test_what_does_something_else_has_no_native_version(make):
    assert native_of(make) is None


def drawing(env, **choices):
    """A function that builds an environment with the next of some values each time."""
    cycles = {name: itertools.cycle(values) for name, values in choices.items()}

    def make():
        made = gym.make(env, disable_env_checker=True)
        for name, values in cycles.items():
            setattr(made.unwrapped, name, next(values))
        return made

    return make


@pytest.mark.parametrize(
    "make",
    [
        drawing("CartPole-v1", length=(0.5, 0.7)),
        # The first two happen to be alike.
        drawing("Pendulum-v1", g=(10.0, 10.0, 9.0)),
        drawing("Acrobot-v1", AVAIL_TORQUE=([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0])),
        drawing("Acrobot-v1", book_or_nips=("book", "nips")),
    ],
    ids=["length", "gravity", "torques", "equations"],
)
def test_constants_that_are_drawn_have_no_native_version(make):
    assert native_of(make) is None


def test_environments_that_differ_are_evaluated_and_trained_in_one_by_one():
    limits = itertools.cycle((3, 4))

    def make():
        return gym.make("CartPole-v1", max_episode_steps=next(limits), disable_env_checker=True)

    evaluator = Evaluator(make)
    episodes = evaluator.run(RandomPolicy(evaluator.action_space), range(6))
    evaluator.close()
    assert set(episodes.lengths) == {3, 4}
    # Also where a mode says otherwise, whose draws were alike.
    for mode in (vectorize_of("sync", make), "native"):
        environments = build_environments(make, 1, 2, mode)
        steps = [environments.step(np.zeros(2, dtype=np.int64)) for _ in range(3)]
        environments.close()
        assert steps[2].truncated.sum() == 1


def test_a_subclass_may_do_anything():
    for kind in KINDS:
        other = type("Other", (kind,), {})
        assert native_of(lambda other=other: gym.wrappers.TimeLimit(other(), 10)) is None
        assert native_of(lambda kind=kind: gym.wrappers.TimeLimit(kind(), 10)).limit == 10
