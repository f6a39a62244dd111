"""Environments of all members against Gymnasium's single ones, and actions against RLlib's."""

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action

from rllib_ext.envs.native.registry import native_of
from rllib_ext.packed.environments import (
    NativeEnvironments,
    SingleEnvironments,
    for_environment,
)
from rllib_ext.packed.vectorize import build_environments, vectorize_of
from rllib_ext.pruning.errors import ConfigError


def cartpole():
    return gym.make("CartPole-v1", disable_env_checker=True)


def pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=5)


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1"])
def test_native_environments_give_the_episodes_of_single_ones(env):
    def make():
        return gym.make(env, max_episode_steps=40, disable_env_checker=True)

    both = (NativeEnvironments(native_of(make), 2, 3), SingleEnvironments(make, 2, 3))
    for member in range(2):
        one, other = (e.reset(member, seed=member) for e in both)
        np.testing.assert_array_equal(one, other)
    rng, space = np.random.default_rng(0), make().action_space
    space.seed(0)
    seen, cut, ended = np.zeros((6, 4)), 0, 0
    for turn in range(200):
        actions = np.stack([space.sample() for _ in range(6)])
        if env == "CartPole-v1":
            # A pole that leans is pushed back, so that some episodes reach the limit.
            actions = np.where(rng.random(6) < 0.7, seen[:, 2] + seen[:, 3] > 0, 0).astype(int)
        one, other = (e.step(actions) for e in both)
        for name in ("observations", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_allclose(one.rewards, other.rewards, rtol=1e-9)
        assert one.last.keys() == other.last.keys()
        for i, last in one.last.items():
            np.testing.assert_array_equal(last, other.last[i])
        cut, ended = cut + one.truncated.sum(), ended + one.terminated.sum()
        if turn == 90:
            # Others go on where they are.
            one_again, other_again = (e.reset(1, seed=7) for e in both)
            np.testing.assert_array_equal(one_again, other_again)
        seen = one.observations
    assert cut
    assert bool(ended) == (env == "CartPole-v1")


@pytest.mark.parametrize(
    "build",
    [
        lambda members: NativeEnvironments(native_of(cartpole), members, 2),
        lambda members: SingleEnvironments(lambda: gym.make("CartPole-v1"), members, 2),
    ],
    ids=["native", "sync"],
)
def test_a_member_s_episodes_depend_on_its_own_seed_only(build):
    def play(members, watched, seeds):
        environments = build(members)
        for member, seed in enumerate(seeds):
            environments.reset(member, seed)
        rng, seen = np.random.default_rng(1), []
        for turn in range(60):
            actions = np.zeros(members * 2, dtype=np.int64)
            actions[2 * watched : 2 * watched + 2] = rng.integers(0, 2, 2)
            if turn == 30 and members > 1:
                environments.reset(0, seed=99)
            step = environments.step(actions)
            seen.append(step.observations[2 * watched : 2 * watched + 2])
        environments.close()
        return np.array(seen)

    together = play(3, 2, (5, 6, 7))
    np.testing.assert_array_equal(together, play(1, 0, (7,)))
    assert not np.array_equal(together, play(1, 0, (8,)))


def test_a_cut_episode_s_last_observation_is_kept_in_other_environments():
    environments = SingleEnvironments(pendulum, 1, 2)
    environments.reset(0, seed=4)
    seeds = [int(s) for s in np.random.SeedSequence(4).generate_state(2)]
    single = pendulum()
    single.reset(seed=seeds[1])
    action = np.array([[0.5], [-0.5]], dtype=np.float32)
    for turn in range(5):
        step = environments.step(action)
        expected, reward, _, truncated, _ = single.step(action[1])
        assert step.rewards[1] == pytest.approx(reward)
        assert bool(step.truncated[1]) == truncated == (turn == 4)
    np.testing.assert_allclose(step.last[1], expected)
    np.testing.assert_allclose(step.observations[1], single.reset()[0])


class OneBuffer(gym.Env):
    """Counts its steps, always in the same array, and is cut after five."""

    observation_space = gym.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.seen = np.zeros(1, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen[0] = 0.0
        return self.seen, {}

    def step(self, action):
        self.seen[0] += 1.0
        return self.seen, 1.0, False, bool(self.seen[0] == 5.0), {}


@pytest.mark.parametrize("parallel", [False, True])
def test_a_last_observation_is_not_overwritten_by_the_next_episode_s_first(parallel):
    environments = SingleEnvironments(OneBuffer, 1, 2, parallel=parallel)
    try:
        assert environments.reset(0, seed=4).ravel().tolist() == [0.0, 0.0]
        steps = [environments.step(np.zeros(2, dtype=np.int64)) for _ in range(6)]
    finally:
        environments.close()
    shown = [step.observations.ravel().tolist() for step in steps]
    assert shown == [[n, n] for n in (1.0, 2.0, 3.0, 4.0, 0.0, 1.0)]
    assert {i: last.tolist() for i, last in steps[4].last.items()} == {0: [5.0], 1: [5.0]}


def test_environments_with_a_native_version_are_vectorised_and_no_others():
    def built(make, mode="sync"):
        return build_environments(make, 1, 2, vectorize_of(mode, make))

    for native in (cartpole, pendulum):
        assert isinstance(built(native), NativeEnvironments)
        assert isinstance(built(native, "vector_entry_point"), NativeEnvironments)

    def scaled():
        return gym.wrappers.TransformReward(cartpole(), lambda r: 2 * r)

    def unlimited():
        return cartpole().unwrapped

    for other in (scaled, unlimited):
        assert isinstance(built(other), SingleEnvironments)
        with pytest.raises(ConfigError, match="own CartPole, Acrobot, Pendulum only"):
            vectorize_of("vector_entry_point", other)
    with pytest.raises(ConfigError, match="expected one of auto, native, envpool, sync"):
        vectorize_of("threads", pendulum)


@pytest.mark.parametrize("make", [cartpole, pendulum])
def test_environments_in_processes_of_their_own_give_the_same_episodes(make):
    together = SingleEnvironments(make, 2, 2)
    mode = vectorize_of(gym.VectorizeMode.ASYNC, make)
    apart = build_environments(make, 2, 2, mode)
    assert isinstance(apart, SingleEnvironments)
    both, over = (together, apart), 0
    space = make().action_space
    space.seed(3)
    try:
        for member in range(2):
            one, other = (e.reset(member, seed=member) for e in both)
            np.testing.assert_array_equal(one, other)
        for turn in range(60):
            actions = np.stack([space.sample() for _ in range(4)])
            one, other = (e.step(actions) for e in both)
            for name in ("observations", "rewards", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert one.last.keys() == other.last.keys()
            for i, last in one.last.items():
                np.testing.assert_array_equal(last, other.last[i])
            over += len(one.last)
            if turn == 25:
                # Others go on where they are.
                one, other = (e.reset(1, seed=7) for e in both)
                np.testing.assert_array_equal(one, other)
    finally:
        together.close()
        apart.close()
    assert over > 4


def test_actions_reach_the_environment_as_through_rllib_s_connectors():
    rng = np.random.default_rng(0)
    bounded = gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 5]))
    half = gym.spaces.Box(np.float32([-2, -np.inf]), np.float32([2, 1]))
    for space in (bounded, half):
        actions = rng.normal(scale=2.0, size=(20, 2)).astype(np.float32)
        for unsquash, clip in ((True, False), (True, True), (False, True), (False, False)):
            found = for_environment(space, actions, unsquash=unsquash, clip=clip)
            expected = actions
            if unsquash:
                expected = [unsquash_action(a, space) for a in actions]
            elif clip:
                expected = [clip_action(a, space) for a in actions]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            assert found.dtype == np.float32
    nan = for_environment(bounded, np.full((1, 2), np.nan), unsquash=True, clip=False)
    assert bounded.contains(nan[0])
    integers = np.array([1, 0])
    assert for_environment(gym.spaces.Discrete(2), integers, unsquash=True, clip=True) is integers
