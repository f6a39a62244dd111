"""Evaluation of several members at once against the evaluation of each by itself."""

import gymnasium as gym
import numpy as np
import pytest
from packs import IMAGES, Images, started
from ray.rllib.connectors.env_to_module import MeanStdFilter

from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.rl.preprocess.stack_frames import StackFrames


def filtered(env, spaces, device):
    return MeanStdFilter()


def stacked(env, spaces, device):
    return [MeanStdFilter(), StackFrames(num_frames=3)]


class Clock(gym.Env):
    """Shows the time in double precision, which single precision hardly moves, and pays for a beat."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, config=None):
        self.time = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = int(self.np_random.integers(100))
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        return self.seen(), float(action[0]) * (self.time % 7 - 3), self.time >= 120, False, {}

    def seen(self):
        return np.array([1.7e9 + self.time])


@pytest.mark.parametrize(
    ("env", "model", "runners", "actions"),
    [
        ("CartPole-v1", {}, {}, {}),
        ("Acrobot-v1", {}, {}, {}),
        ("Pendulum-v1", {}, {"env_to_module_connector": filtered}, {}),
        ("Pendulum-v1", {}, {}, {"normalize_actions": False, "clip_actions": True}),
        ("Pendulum-v1", {}, {"env_to_module_connector": stacked}, {}),
        (Images, IMAGES, {"env_to_module_connector": filtered}, {}),
        (Clock, {}, {"env_to_module_connector": filtered}, {}),
    ],
)
def test_members_evaluated_together_are_members_evaluated_alone(
    packed_ppo, env, model, runners, actions
):
    def make(config=None):
        if isinstance(env, type):
            return env()
        # Short episodes: long ones differ by rounding.
        return gym.make(env, max_episode_steps=60, disable_env_checker=True)

    ppo = packed_ppo(make, model, runners).environment(**actions)
    pack = started(ppo, members=3, iterations=2)
    seeds = {0: (5, 6, 7), 2: (5, 11)}
    statistics = [pack._filters.state(i) for i in range(3)]
    found = pack.evaluate(seeds)
    assert list(found) == [0, 2]
    evaluator = Evaluator(make)
    for member, own in seeds.items():
        expected = evaluator.run(pack.policy(member).policy(), own)
        assert found[member].seeds == own
        assert found[member].lengths == expected.lengths
        np.testing.assert_allclose(found[member].returns, expected.returns, rtol=1e-3)
    assert str(statistics) == str([pack._filters.state(i) for i in range(3)])
    assert pack.evaluate({}) == {}
