"""The divergence from a teacher in the Learner's loss, against torch's own distributions."""

import gymnasium as gym
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError

MODULE = "default_policy"
HORIZON = 1000


def learner_of(ppo, env, **values):
    pruning = PruningConfig(horizon=HORIZON, final_sparsity=0.5, **values)
    return with_pruning(ppo.environment(env), pruning).build_learner(env=gym.make(env))


def batch_for(learner, masked):
    generator = torch.Generator().manual_seed(0)
    module = learner.module[MODULE]
    seen = torch.randn(30, *module.observation_space.shape, generator=generator)
    with torch.no_grad():
        inputs = module._forward_train({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
    actions = module.get_train_action_dist_cls().from_logits(inputs).sample()
    batch = {
        Columns.OBS: seen,
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: inputs,
        Columns.ACTION_LOGP: torch.randn(30, generator=generator) * 0.1 - 1.0,
        Postprocessing.ADVANTAGES: torch.randn(30, generator=generator),
        Postprocessing.VALUE_TARGETS: torch.randn(30, generator=generator),
    }
    if masked:
        batch[Columns.LOSS_MASK] = torch.rand(30, generator=generator) < 0.7
    return batch


def loss_of(learner, batch):
    outputs = learner.module.forward_train({MODULE: batch})
    return learner.compute_losses(fwd_out=outputs, batch={MODULE: batch})[MODULE], outputs[MODULE]


def distribution(inputs, discrete):
    if discrete:
        return torch.distributions.Categorical(logits=inputs)
    mean, log_std = inputs.chunk(2, dim=-1)
    return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_the_loss_grows_by_the_weighted_divergence_from_the_teacher(small_ppo, env, masked):
    plain = learner_of(small_ppo(), env)
    held = learner_of(small_ppo(), env, distil=4.0, distil_until=0.8)
    held.module[MODULE].load_state_dict(plain.module[MODULE].state_dict())
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: value + 0.3 * torch.randn(value.shape, generator=generator)
        for name, value in plain.module[MODULE].state_dict().items()
    }
    held.learn_from({name: value.numpy() for name, value in weights.items()})
    batch = batch_for(plain, masked)
    usual, outputs = loss_of(plain, dict(batch))
    teacher = learner_of(small_ppo(), env).module[MODULE]
    teacher.load_state_dict(weights)
    taught = teacher._forward_train({Columns.OBS: batch[Columns.OBS]})[Columns.ACTION_DIST_INPUTS]
    inputs = [x.detach() for x in (taught, outputs[Columns.ACTION_DIST_INPUTS])]
    divergence = torch.distributions.kl_divergence(
        *(distribution(x, env == "CartPole-v1") for x in inputs)
    )
    counted = batch.get(Columns.LOSS_MASK, torch.ones(30, dtype=torch.bool))
    for clock, weight in ((0, 4.0), (400, 2.0), (800, 0.0), (1000, 0.0)):
        held.pruner.env_steps = clock
        found, _ = loss_of(held, dict(batch))
        expected = usual + weight * divergence[counted].mean()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    held.pruner.env_steps = 0
    loss_of(held, dict(batch))[0].backward()
    assert all(p.grad is None for p in held._teacher._module.parameters())
    assert any(p.grad is not None for p in held.module[MODULE].parameters())


def test_a_learner_that_nobody_gave_a_teacher_says_how_it_gets_one(small_ppo):
    learner = learner_of(small_ppo(), "CartPole-v1", distil=1.0)
    with pytest.raises(ConfigError, match=r"nobody gave the Learner a teacher.*init_checkpoint"):
        loss_of(learner, batch_for(learner, masked=False))
