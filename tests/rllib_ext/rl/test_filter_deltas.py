"""Observation filters over several EnvRunners: one filter that had seen what all of them saw."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from ray import cloudpickle
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.filter import RunningStat

from rllib_ext import PruningConfig, with_preprocessing, with_pruning
from rllib_ext.rl.filter_deltas import FilterDeltas

# Other processes cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BOX = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
MEAN, DEVIATION = np.array([5.0, -100.0]), np.array([1.0, 3.0])


class Noise(gym.Env):
    """Shows nothing but noise, far from 0."""

    observation_space, action_space = BOX, gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.count = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.seen(), {}

    def step(self, action):
        self.count += 1
        return self.seen(), 1.0, self.count == 10, False, {}

    def seen(self):
        return self.np_random.normal(MEAN, DEVIATION).astype(np.float32)


class Pipeline:
    """Stands for RLlib's, with one filter."""

    def __init__(self):
        made = MeanStdFilter()
        made.input_observation_space = BOX
        made.reset_state()
        self.connectors = [made]

    @property
    def filter(self):
        return self.connectors[0]

    def see(self, observations):
        for observation in observations:
            self.filter._filters[None](observation)


def statistics_of(connector):
    (state,) = connector.get_state().values()
    return RunningStat.from_state(state["running_stats"][0])


def test_joined_filters_have_seen_what_all_have_seen_however_often_each_samples():
    rng = np.random.default_rng(0)
    joined, runners = Pipeline(), [Pipeline() for _ in range(3)]
    deltas = [FilterDeltas() for _ in runners]
    everything = []
    for _ in range(6):
        for runner, delta in zip(runners, deltas, strict=True):
            for _ in range(int(rng.integers(3))):
                seen = rng.normal(MEAN, DEVIATION, size=(rng.integers(1, 40), 2))
                runner.see(seen)
                delta.correct(runner)
                everything.append(seen)
        state = joined.filter.merge_states([runner.filter.get_state() for runner in runners])
        for each in (joined, *runners):
            each.filter.set_state(state)
        found = statistics_of(joined.filter)
        expected = np.concatenate(everything)
        assert found.num_pushes == len(expected)
        np.testing.assert_allclose(found.mean, expected.mean(0), rtol=1e-9)
        np.testing.assert_allclose(found.std, expected.std(0, ddof=1), rtol=1e-5)


@pytest.mark.ray
def test_policies_trained_on_several_env_runners_see_normalised_observations(
    ray_cluster, small_ppo
):
    ppo = small_ppo(Noise).env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5)
    ppo = with_preprocessing(ppo, normalize="observations")
    algorithm = with_pruning(ppo, PruningConfig(horizon=10_000)).build_algo()
    try:
        for _ in range(5):
            algorithm.train()
        found = statistics_of(algorithm.env_runner._env_to_module.connectors[0])
    finally:
        algorithm.stop()
    assert found.num_pushes >= 5 * 256
    np.testing.assert_allclose(
        found.mean, MEAN, atol=6 * DEVIATION.max() / np.sqrt(found.num_pushes)
    )
    np.testing.assert_allclose(found.std, DEVIATION, rtol=0.15)
