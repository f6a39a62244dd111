"""Stochastic actions: their frequencies are the distribution's, and an episode's seed fixes them."""

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
)

from rllib_ext import load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.acting import ConnectorPolicy
from rllib_ext.policy.draws import Draws
from rllib_ext.policy.store import policy_of, save_policy
from rllib_ext.rl.with_pruning import build_algorithm


class Module:
    """As much of an RLModule as says which distribution it is."""

    def __init__(self, distribution):
        self.distribution = distribution

    def get_exploration_action_dist_cls(self):
        return self.distribution


def drawn(distribution, logits, count):
    draws = Draws(Module(distribution))
    draws.begin(range(count))
    return draws.actions(logits.expand(count, *logits.shape[1:]), range(count))


def test_discrete_actions_are_as_frequent_as_their_probabilities():
    logits = torch.tensor([[1.0, -0.5, 0.2, -30.0]])
    actions = drawn(TorchCategorical, logits, 20_000)
    probabilities = torch.softmax(logits[0], 0).numpy()
    shares = np.bincount(actions.numpy(), minlength=4) / 20_000
    errors = np.sqrt(probabilities * (1 - probabilities) / 20_000)
    assert np.all(np.abs(shares - probabilities) <= 4 * errors + 1e-9)
    sample = TorchCategorical.from_logits(logits).sample()
    assert (actions.dtype, actions[:1].shape) == (sample.dtype, sample.shape)


def test_the_time_axis_of_recurrent_policies_is_kept():
    logits = torch.tensor([[[0.0, 1.0]]])
    actions = drawn(TorchCategorical, logits, 7)
    assert actions.shape == (7, 1)


def test_continuous_actions_have_the_distributions_mean_and_deviation():
    logits = torch.tensor([[0.5, -1.0, np.log(0.3), np.log(2.0)]], dtype=torch.float32)
    actions = drawn(TorchDiagGaussian, logits, 1500).numpy()
    for values, mean, std in zip(actions.T, (0.5, -1.0), (0.3, 2.0), strict=True):
        assert values.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(1500))
        assert values.std() == pytest.approx(std, rel=4 / np.sqrt(3000))


def test_torchs_global_generator_is_left_as_it_was():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    drawn(TorchDiagGaussian, torch.zeros(1, 2), 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.ray
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_stochastic_policy_repeats_itself_by_seed_whoever_plays_beside(env, small_ppo, tmp_path):
    config = small_ppo(env)
    algorithm = build_algorithm(config)
    try:
        save_policy(algorithm, {}, tmp_path / "policy", {})
        mode = policy_of(algorithm)
    finally:
        algorithm.stop()
    policy = load_policy(tmp_path / "policy", stochastic=True)
    make = lambda: gymnasium.make(env, max_episode_steps=40)  # noqa: E731
    evaluator = Evaluator(make)
    together = evaluator.run(policy, (8, 9, 10))
    assert evaluator.run(policy, (8, 9, 10)) == together
    # A batch of another size is summed in another order.
    alone = evaluator.run(policy, (10,)).returns[0]
    assert alone == pytest.approx(together.returns[2], rel=1e-5)
    assert evaluator.run(mode, (8, 9, 10)) != together
    evaluator.close()


@pytest.mark.ray
def test_connectors_draw_the_actions_that_a_plain_policy_draws(small_ppo):
    config = small_ppo()
    algorithm = build_algorithm(config)
    evaluator = Evaluator(env_maker(config))
    try:
        from rllib_ext.policy.store import parts_of

        parts = parts_of(algorithm)
        direct = parts.policy(stochastic=True)
        through = ConnectorPolicy(
            parts.module, parts.env_to_module, parts.module_to_env, stochastic=True
        )
        assert type(direct).__name__ == "DirectPolicy"
        assert evaluator.run(direct, range(4)) == evaluator.run(through, range(4))
    finally:
        evaluator.close()
        algorithm.stop()
