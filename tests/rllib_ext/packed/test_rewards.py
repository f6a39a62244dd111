"""Scaled rewards of members: learned from as in RLlib, never reported, each member's own."""

import dataclasses

import numpy as np
import pytest
import torch
from packs import PRUNING, started

from rllib_ext import with_preprocessing
from rllib_ext.packed.rewards import Rewards
from rllib_ext.packed.state import MemberState
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards


def ppo_of(packed_ppo, **preprocessing):
    return with_preprocessing(packed_ppo("Pendulum-v1", gamma=0.9), **preprocessing)


def test_a_return_goes_on_from_rollout_to_rollout(packed_ppo):
    # Episodes of 200 steps, cut by rollouts of 150.
    ppo = ppo_of(packed_ppo, normalize="rewards").training(train_batch_size_per_learner=4 * 150)
    pack = started(ppo)
    rollouts = [pack._collector.collect() for _ in range(2)]
    whole = dataclasses.replace(
        rollouts[0],
        **{
            name: torch.cat([getattr(r, name) for r in rollouts], dim=1)
            for name in ("rewards", "terminated", "truncated")
        },
    )
    assert int(whole.truncated.sum()) == 2 * 4
    scaling = ScaleRewards(gamma=0.9)
    cut, at_once = Rewards(scaling, 2, 4), Rewards(scaling, 2, 4)
    for rollout in rollouts:
        cut.of(rollout, [0, 1])
    at_once.of(whole, [0, 1])
    for member in range(2):
        assert cut.state(member) == pytest.approx(at_once.state(member))
    # Who doesn't learn, learns nothing of rewards either.
    cut.of(rollouts[0], [1])
    assert cut.state(0) == pytest.approx(at_once.state(0))
    assert cut.state(1)["count"] == pytest.approx(3 * 4 * 150)


def test_reported_returns_are_the_environment_s_own(packed_ppo):
    plain = started(ppo_of(packed_ppo), members=1)
    scaled = started(ppo_of(packed_ppo, normalize="rewards", clip_reward=0.01), members=1)
    for _ in range(13):
        one, other = plain.train()[0], scaled.train()[0]
    assert other["env_runners"]["num_episodes"] == 4
    assert other["env_runners"]["episode_return_mean"] < -200.0
    assert one["learners"]["vf_loss"] > 10 * other["learners"]["vf_loss"]
    evaluated = scaled.evaluate({0: range(3)})[0]
    assert evaluated.mean < -200.0


def test_a_copy_goes_on_with_its_donor_s_scale(packed_ppo, tmp_path):
    ppo = ppo_of(packed_ppo, normalize=True)
    pack = started(ppo, iterations=3)
    assert pack._rewards.state(0) != pack._rewards.state(1)
    pack.state(0).save(tmp_path)
    pack.start(1, training={}, pruning=PRUNING, seed=7, state=MemberState.load(tmp_path))
    assert pack._rewards.state(1) == pack._rewards.state(0)
    assert not pack._rewards._returns[1].any()
    assert pack._rewards._returns[0].all()
    pack.start(1, training={}, pruning=PRUNING, seed=8)
    assert pack._rewards.state(1)["count"] < 1.0


def test_without_scaling_rewards_pass_as_they_are(packed_ppo):
    rollout = started(ppo_of(packed_ppo))._collector.collect()
    rewards = Rewards(None, 2, 4)
    assert rewards.of(rollout, [0, 1]) is rollout.rewards
    assert rewards.state(0) == {}
    clipped = Rewards(ScaleRewards(clip=0.5), 2, 4).of(rollout, [0, 1])
    np.testing.assert_array_equal(clipped, rollout.rewards.clip(-0.5, 0.5))
