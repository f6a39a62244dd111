"""Environments of all members against Gymnasium's single ones, and actions against RLlib's."""

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action

from rllib_ext.packed.environments import (
    CartPoleEnvironments,
    SingleEnvironments,
    build_environments,
    for_environment,
    vectorize_mode_of,
)
from rllib_ext.pruning.errors import ConfigError


def cartpole():
    return gym.make("CartPole-v1", disable_env_checker=True)


def pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=5)


def test_vectorised_cartpole_steps_as_gymnasium_s_own():
    environments = CartPoleEnvironments(2, 3, max_episode_steps=40)
    observations = np.concatenate([environments.reset(m, seed=m) for m in range(2)])
    singles = [cartpole().unwrapped for _ in range(6)]
    for i, single in enumerate(singles):
        single.reset(seed=0)
        single.state = tuple(environments._vector.state[:, i])
    rng = np.random.default_rng(0)
    lengths, cut, ended = np.zeros(6, dtype=int), 0, 0
    for _ in range(200):
        # A pole that leans is pushed back, so that some episodes reach the limit.
        actions = np.where(rng.random(6) < 0.7, observations[:, 2] + observations[:, 3] > 0, 0)
        step = environments.step(actions.astype(np.int64))
        lengths += 1
        for i, single in enumerate(singles):
            expected, reward, terminated, _, _ = single.step(int(actions[i]))
            over = terminated or lengths[i] == 40
            seen = step.last[i] if over else step.observations[i]
            np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)
            assert (step.rewards[i], step.terminated[i]) == (reward, terminated)
            assert step.truncated[i] == (lengths[i] == 40)
            assert (i in step.last) == over
            if over:
                assert np.abs(step.observations[i]).max() <= 0.05
                single.reset(seed=0)
                single.state = tuple(environments._vector.state[:, i])
                cut, ended = cut + (not terminated), ended + terminated
                lengths[i] = 0
        observations = step.observations
    assert cut
    assert ended


@pytest.mark.parametrize(
    "build",
    [
        lambda members: CartPoleEnvironments(members, 2, 15),
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


def test_gymnasium_s_own_cartpole_is_vectorised_and_nothing_else():
    def built(make, mode="sync"):
        return build_environments(make, 1, 2, vectorize_mode_of(mode, make))

    assert isinstance(built(cartpole), CartPoleEnvironments)
    assert isinstance(built(cartpole, "vector_entry_point"), CartPoleEnvironments)

    def scaled():
        return gym.wrappers.TransformReward(cartpole(), lambda r: 2 * r)

    def unlimited():
        return cartpole().unwrapped

    for other in (pendulum, scaled, unlimited):
        assert isinstance(built(other), SingleEnvironments)
        with pytest.raises(ConfigError, match="own CartPole only"):
            vectorize_mode_of("vector_entry_point", other)
    with pytest.raises(ConfigError, match="expected one of async, sync"):
        vectorize_mode_of("threads", pendulum)


@pytest.mark.parametrize("make", [cartpole, pendulum])
def test_environments_in_processes_of_their_own_give_the_same_episodes(make):
    together = SingleEnvironments(make, 2, 2)
    mode = vectorize_mode_of(gym.VectorizeMode.ASYNC, make)
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
