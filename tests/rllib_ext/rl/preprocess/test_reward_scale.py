"""Reward scaling against Gymnasium's NormalizeReward, which learns step by step."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.utils import RunningMeanStd

from rllib_ext.rl.preprocess.reward_scale import RewardScales, discounted

ME = np.zeros(1, dtype=np.int64)


def test_after_an_episode_the_scale_is_that_of_gymnasium_s_wrapper():
    env = gym.wrappers.NormalizeReward(gym.make("Pendulum-v1"), gamma=0.9)
    env.reset(seed=1)
    env.action_space.seed(1)
    scaled, raw = [], []
    for _ in range(200):
        _, reward, *_ = env.step(env.action_space.sample())
        scaled.append(reward)
        raw.append(reward * np.sqrt(env.return_rms.var + env.epsilon))
    rewards = np.array(raw).ravel()
    scales = RewardScales(1, normalise=True, clip=None)
    # In two batches, between which the return goes on.
    before = np.float64(0.0)
    for part in (rewards[:70], rewards[70:]):
        returns, before = discounted(part, np.zeros(len(part), bool), before, 0.9)
        scales.see(ME, returns[None])
    assert scales.state(0)["variance"] == pytest.approx(float(env.return_rms.var), rel=1e-9)
    assert scales.scaled(ME, rewards[None])[0][-1] == pytest.approx(float(scaled[-1]))


def test_members_learn_apart_each_as_if_alone():
    rng = np.random.default_rng(0)
    scales = RewardScales(3, normalise=True, clip=None)
    alone = [RunningMeanStd(shape=()) for _ in range(3)]
    for members in ([0, 1, 2], [1], [0, 2]):
        returns = rng.normal(5.0, [[1.0], [9.0], [0.1]], size=(3, 40))[members]
        scales.see(np.array(members), returns)
        for member, own in zip(members, returns, strict=True):
            alone[member].update(own)
    for member in range(3):
        assert scales.state(member)["variance"] == pytest.approx(float(alone[member].var))
        assert scales.state(member)["mean"] == pytest.approx(float(alone[member].mean))


def test_a_return_begins_anew_in_each_episode():
    rewards = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    ended = np.array([[False, False], [True, False], [False, True]])
    returns, following = discounted(rewards, ended, np.array([4.0, 0.0]), 0.5)
    np.testing.assert_array_equal(returns, [[3.0, 2.0], [2.5, 3.0], [1.0, 3.5]])
    np.testing.assert_array_equal(following, [1.0, 0.0])


def test_what_comes_out_is_clipped_with_and_without_a_scale():
    rewards = np.array([[-300.0, 0.5, 40.0]])
    plain = RewardScales(1, normalise=False, clip=1.0)
    plain.see(ME, rewards)
    np.testing.assert_array_equal(plain.scaled(ME, rewards), [[-1.0, 0.5, 1.0]])
    assert plain.state(0) == {}
    fresh = RewardScales(1, normalise=True, clip=10.0)
    np.testing.assert_allclose(fresh.scaled(ME, rewards), [[-10.0, 0.5, 10.0]])


def test_a_state_goes_onto_another_member_and_can_be_forgotten():
    scales = RewardScales(2, normalise=True, clip=None)
    scales.see(ME, np.arange(9.0)[None])
    scales.load(1, scales.state(0))
    assert scales.state(1) == scales.state(0) != RewardScales(1, normalise=True, clip=None).state(0)
    scales.load(1, {})
    assert scales.state(1) == {"mean": 0.0, "variance": 1.0, "count": 1e-4}
