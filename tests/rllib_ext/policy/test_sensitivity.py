"""Sensitivity measured on RLlib policies."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.sensitivity import measure_sensitivity
from rllib_ext.policy.store import policy_of
from rllib_ext.pruning.errors import ConfigError

SEEDS = (1, 2, 3)

pytestmark = pytest.mark.ray


def ppo(env: str = "CartPole-v1", **model: object) -> PPOConfig:
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .training(train_batch_size=128, minibatch_size=64, num_epochs=1)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8, 8], **model))
        .debugging(seed=0)
    )


@pytest.fixture(scope="module")
def cartpole():
    config = ppo(vf_share_layers=False)
    algorithm = config.build_algo()
    algorithm.train()
    evaluator = Evaluator(env_maker(config))
    yield algorithm, evaluator
    evaluator.close()
    algorithm.stop()


def test_every_layer_of_the_policy_path_is_measured_and_the_policy_is_left_alone(cartpole) -> None:
    algorithm, evaluator = cartpole
    policy = policy_of(algorithm)
    before = {n: p.detach().clone() for n, p in policy.module.named_parameters()}
    table = measure_sensitivity(policy, evaluator, SEEDS, sparsities=(0.5, 1.0))
    layers = [m.layer for m in table.measurements]
    assert len(layers) == 6
    assert len(set(layers)) == 3
    assert not any("critic" in layer or layer.startswith("vf") for layer in layers)
    assert table.return_mean == evaluator.run(policy, SEEDS).mean
    assert table.episodes == 3
    assert all(m.kl >= 0.0 and math.isfinite(m.kl) for m in table.measurements)
    assert all(torch.equal(before[n], p) for n, p in policy.module.named_parameters())
    assert set(table.damage()) == set(layers)


def test_divergence_and_return_of_a_policy_without_its_head(cartpole) -> None:
    """Against KL(p ‖ q) computed by hand: without head weights the logits are the head's bias."""
    algorithm, evaluator = cartpole
    policy = policy_of(algorithm)
    head = next(
        n for n, p in policy.module.named_parameters() if n.startswith("pi.") and p.dim() == 2
    )
    table = measure_sensitivity(policy, evaluator, SEEDS, sparsities=(1.0,))
    measured = next(m for m in table.measurements if m.layer == head)

    divergences = []

    class Spy:
        module = policy.module

        def begin(self, seeds):
            policy.begin(seeds)

        def act(self, episodes, observations, rewards):
            stacked = torch.from_numpy(np.stack(observations).astype(np.float32))
            with torch.no_grad():
                logits = self.module.forward_inference({"obs": stacked})["action_dist_inputs"]
            p, q = torch.log_softmax(logits, -1), torch.log_softmax(bias, -1)
            divergences.append((p.exp() * (p - q)).sum(-1))
            return policy.act(episodes, observations, rewards)

    bias = dict(policy.module.named_parameters())[head.replace("weight", "bias")].detach()
    evaluator.run(Spy(), SEEDS)
    assert measured.kl == pytest.approx(float(torch.cat(divergences).mean()), rel=1e-4)
    # A constant action holds the pole for some nine steps.
    assert measured.return_mean < 12.0


def test_returns_can_be_left_out(cartpole) -> None:
    algorithm, evaluator = cartpole
    policy = policy_of(algorithm)
    table = measure_sensitivity(policy, evaluator, SEEDS, sparsities=(0.5,), returns=False)
    assert all(math.isnan(m.return_mean) for m in table.measurements)
    assert table.episodes == 0
    excluded = measure_sensitivity(
        policy, evaluator, SEEDS, sparsities=(0.5,), returns=False, exclude=["pi.*"]
    )
    assert len(excluded.measurements) == 2
    with pytest.raises(ConfigError, match="matches no parameter"):
        measure_sensitivity(policy, evaluator, SEEDS, returns=False, exclude=["polcy.*"])


@pytest.mark.parametrize("sparsity", [0.0, 1.1])
def test_a_sparsity_out_of_range_is_refused(cartpole, sparsity: float) -> None:
    algorithm, evaluator = cartpole
    with pytest.raises(ConfigError, match=f"sparsity = {sparsity}"):
        measure_sensitivity(policy_of(algorithm), evaluator, SEEDS, sparsities=(sparsity,))


@pytest.mark.parametrize(
    ("env", "model"),
    [
        ("CartPole-v1", {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10}),
        ("Pendulum-v1", {"vf_share_layers": True}),
    ],
)
def test_recurrent_and_continuous_policies_are_measured(env: str, model: dict) -> None:
    config = ppo(env, **model)
    algorithm = config.build_algo()
    evaluator = Evaluator(env_maker(config))
    try:
        policy = policy_of(algorithm)
        table = measure_sensitivity(policy, evaluator, (1,), sparsities=(0.9,), returns=False)
    finally:
        evaluator.close()
        algorithm.stop()
    assert len(table.measurements) >= 3
    assert all(math.isfinite(m.kl) for m in table.measurements)
    assert any(m.kl > 0.0 for m in table.measurements)
