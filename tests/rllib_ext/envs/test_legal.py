"""Environments that refuse illegal actions: reference policies and noise take legal ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.legal import legal_mask, nearest_legal
from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import (
    ConstantPolicy,
    RandomPolicy,
    best_constant_episodes,
    random_policy_episodes,
)


class Refusing(gymnasium.Env):
    """Two of five actions are legal at a time; the higher, the better; others raise."""

    action_space = Discrete(5, start=2)
    observation_space = Dict(
        {"action_mask": Box(0.0, 1.0, (5,)), "observations": Box(0.0, 1.0, (2,))}
    )
    steps = 8

    def _seen(self):
        self.mask = np.zeros(5, np.float32)
        self.mask[self.np_random.choice(5, 2, replace=False)] = 1.0
        return {"action_mask": self.mask, "observations": np.zeros(2, np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left, self.taken = self.steps, []
        return self._seen(), {}

    def step(self, action):
        if not self.mask[int(action) - 2]:
            raise ValueError(f"illegal action {action}")
        self.taken.append(int(action))
        self.left -= 1
        return self._seen(), float(action), self.left == 0, False, {}


CONFIG = PPOConfig().environment(Refusing)


def test_a_random_policy_takes_each_legal_action_alike():
    envs = []
    evaluator = Evaluator(lambda: envs.append(Refusing()) or envs[-1], width=200)
    first = evaluator.run(RandomPolicy(Refusing.action_space), range(200))
    counts = np.bincount([a - 2 for env in envs[:200] for a in env.taken], minlength=5)
    # Each action is one of two legal ones in 2 of 5 cases: 320 of 1,600, within 4 standard errors.
    assert np.abs(counts - 320).max() < 4 * np.sqrt(1600 * 0.2 * 0.8)
    assert evaluator.run(RandomPolicy(Refusing.action_space), range(200)) == first


def test_a_constant_action_is_the_legal_one_nearest_to_it():
    action, episodes = best_constant_episodes(CONFIG, range(20), range(20, 60))
    assert action == 6
    assert episodes.mean > random_policy_episodes(CONFIG, range(20, 60)).mean
    with pytest.raises(ValueError, match="illegal action"):
        Evaluator(Refusing).run(ConstantPolicy(6), range(20))


def test_random_actions_of_action_noise_are_legal():
    make = shifted_maker(CONFIG, Shift(action_noise=0.5))
    policy = RandomPolicy(Refusing.action_space)
    assert Evaluator(make).run(policy, range(20)).lengths == (8,) * 20


@pytest.mark.parametrize(
    ("observation", "space", "expected"),
    [
        ({"action_mask": np.array([0.0, 1.0])}, Discrete(2), [0, 1]),
        ({"action_mask": [True, False]}, Discrete(2), [1, 0]),
        ({"action_mask": np.ones(3)}, Discrete(2), None),
        ({"mask": np.ones(2)}, Discrete(2), None),
        (np.ones(2), Discrete(2), None),
        ({"action_mask": np.ones(2)}, Box(0.0, 1.0, (2,)), None),
    ],
)
def test_only_a_mask_of_a_discrete_space_is_read(observation, space, expected):
    found = legal_mask(observation, space)
    assert (found is None and expected is None) or found.tolist() == expected


def test_nothing_legal_leaves_the_action_as_it_is():
    assert nearest_legal(1, Discrete(2), {"action_mask": np.zeros(2)}) == 1
    assert nearest_legal(3, None, {"action_mask": np.ones(2)}) == 3
