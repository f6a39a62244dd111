"""PPO's loss, its gradients and one step against RLlib's own PPO Learner; advantages against RLlib's."""

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.distributions import distribution_for
from rllib_ext.packed.draws import Draws
from rllib_ext.packed.hyperparameters import adapted, hyperparameters_of, stacked
from rllib_ext.packed.loss import Minibatch, advantages_of, standardised
from rllib_ext.packed.minibatch_order import MinibatchOrder
from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.update import update

MODULE = "default_policy"
BATCH = 40
# Each term is at work in one of them, and each limit at its end.
MEMBERS = (
    {"lr": 1e-3, "clip_param": 0.1, "entropy_coeff": 0.02, "vf_clip_param": 0.5, "grad_clip": 0.5},
    {
        "lr": 3e-3,
        "clip_param": 0.3,
        "use_kl_loss": False,
        "vf_clip_param": 1e4,
        "vf_loss_coeff": 0.5,
    },
    {"lr": 2e-4, "clip_param": 0.2, "kl_coeff": 0.7, "entropy_coeff": 0.0, "grad_clip": 1e6},
    {"lr": 1e-3, "vf_clip_param": None, "grad_clip": None},
    {"lr": 1e-3, "vf_clip_param": 0.0, "grad_clip": 0.0},
)
TERMS = {
    "total": "total_loss",
    "policy": "policy_loss",
    "value": "vf_loss",
    "value_unclipped": "vf_loss_unclipped",
    "entropy": "entropy",
    "divergence": "mean_kl_loss",
}


class NoGuard:
    """Nothing is pruned."""

    def observer(self, members):
        return None

    def settle(self):
        pass

    def mask_gradients_(self, gradients, rows):
        pass

    def enforce_(self, rows):
        pass


def random_batch(observation_space, action_space, members, generator):
    width = action_space.n if hasattr(action_space, "n") else 2 * action_space.shape[0]
    inputs = 0.3 * torch.randn(members, BATCH, width, generator=generator)
    if hasattr(action_space, "n"):
        actions = torch.randint(int(action_space.n), (members, BATCH), generator=generator)
    else:
        actions = torch.randn(members, BATCH, *action_space.shape, generator=generator)
    distribution = distribution_for(discrete=hasattr(action_space, "n"))
    noise = 0.2 * torch.randn(members, BATCH, generator=generator)
    return distribution, Minibatch(
        observations=torch.randn(
            members, BATCH, math.prod(observation_space.shape), generator=generator
        ),
        actions=actions,
        inputs=inputs,
        log_probabilities=distribution(inputs).log_probability(actions) + noise,
        advantages=torch.randn(members, BATCH, generator=generator),
        targets=2.0 * torch.randn(members, BATCH, generator=generator),
        counted=(torch.rand(members, BATCH, generator=generator) < 0.9).float(),
        taught=torch.randn(members, BATCH, width, generator=generator),
    )


def rllib_s_update(config, module, batch):
    """Loss terms, gradients and weights after one step of RLlib's PPO Learner."""
    learner = config.build_learner(env=env_maker(config)())
    learner.module[MODULE].load_state_dict(module.state_dict())
    named = {
        Columns.OBS: batch.observations.view(BATCH, *module.observation_space.shape),
        Columns.ACTIONS: batch.actions,
        Columns.ACTION_DIST_INPUTS: batch.inputs,
        Columns.ACTION_LOGP: batch.log_probabilities,
        Postprocessing.ADVANTAGES: batch.advantages,
        Postprocessing.VALUE_TARGETS: batch.targets,
        Columns.LOSS_MASK: batch.counted.bool(),
    }
    outputs = learner.module.forward_train({MODULE: named})
    losses = learner.compute_losses(fwd_out=outputs, batch={MODULE: named})
    gradients = learner.postprocess_gradients(learner.compute_gradients(losses))
    learner.apply_gradients(gradients)
    terms = {
        name: float(torch.as_tensor(learner.metrics.peek((MODULE, key))).detach())
        for name, key in TERMS.items()
        if name != "total"
    }
    terms["total"] = float(losses[MODULE].detach())
    return terms, dict(learner.module[MODULE].named_parameters()), learner


def test_every_term_and_one_step_are_those_of_rllib_s_learner(kind):
    ppo, observation_space, action_space = kind
    generator = torch.Generator().manual_seed(3)
    spec = ppo.get_rl_module_spec(env=env_maker(ppo)())
    network = StackedNetwork([build_module(spec, seed) for seed in range(len(MEMBERS))])
    distribution, batch = random_batch(observation_space, action_space, len(MEMBERS), generator)
    own = [hyperparameters_of(ppo, member) for member in MEMBERS]
    expected = []
    for i, member in enumerate(MEMBERS):
        config = ppo.copy(copy_frozen=False).training(**member)
        alone = Minibatch(
            **{f.name: getattr(batch, f.name)[i] for f in dataclasses.fields(Minibatch)}
        )
        expected.append(rllib_s_update(config, network.modules[i], alone))
    found = update(
        network,
        StackedAdam(network),
        distribution,
        batch,
        # RLlib's own has no teacher.
        stacked(
            own,
            [m.kl_coeff for m in own],
            network.weights,
            factors=[1.0] * len(own),
            teaching=[0.0] * len(own),
        ),
        MinibatchOrder(
            Draws(len(own)),
            slice(0, len(own)),
            [1] * len(own),
            [torch.arange(BATCH)] * len(own),
            BATCH,
        ),
        range(len(own)),
        NoGuard(),
    )
    for i, (terms, weights, _) in enumerate(expected):
        for name, value in terms.items():
            if name == "divergence" and not own[i].use_kl_loss:
                continue  # RLlib doesn't compute it then.
            assert float(getattr(found, name)[i]) == pytest.approx(value, rel=1e-5, abs=1e-5), name
        for name, value in weights.items():
            mine = network.part(network.weights[i], name)
            torch.testing.assert_close(mine, value.detach(), rtol=1e-5, atol=1e-5)


def test_the_weight_of_the_divergence_adapts_as_in_rllib(packed_ppo):
    learner = packed_ppo(kl_target=0.01).build_learner(env=gym.make("CartPole-v1"))
    coefficient = float(learner.curr_kl_coeffs_per_module[MODULE])
    config = learner.config.get_config_for_module(MODULE)
    for divergence in (0.5, 0.021, 0.02, 0.01, 0.005, 0.0049, 0.0, float("nan"), 0.3):
        learner._update_module_kl_coeff(module_id=MODULE, config=config, kl_loss=divergence)
        coefficient = adapted(coefficient, divergence, 0.01)
        assert coefficient == pytest.approx(float(learner.curr_kl_coeffs_per_module[MODULE]))


def test_advantages_are_rllib_s_with_time_limits_bootstrapped():
    rng = np.random.default_rng(0)
    steps, discounts, decays = 30, (0.99, 0.9), (0.95, 0.5)
    shape = (2, steps, 3)
    rewards, values, next_values = (rng.normal(size=shape) for _ in range(3))
    over = rng.random(shape)
    terminated, truncated = over < 0.1, (over > 0.05) & (over < 0.2)
    done = terminated | truncated
    # Within an episode the value of the next state is the next value.
    next_values[:, :-1] = np.where(done[:, :-1], next_values[:, :-1], values[:, 1:])
    found = advantages_of(
        *(torch.from_numpy(a) for a in (rewards, values, next_values, terminated, truncated)),
        torch.tensor(discounts, dtype=torch.float64),
        torch.tensor(decays, dtype=torch.float64),
    )
    assert bool((terminated & truncated).any() and (truncated & ~terminated).any())
    for member in range(2):
        for env in range(3):
            where = (member, slice(None), env)
            start = 0
            ends = [*np.flatnonzero(done[where]), steps - 1]
            for end in sorted(set(ends)):
                part = slice(start, end + 1)
                targets = compute_value_targets(
                    # RLlib lengthens each chunk by the state it stopped in.
                    values=np.append(values[where][part], next_values[member, end, env]),
                    rewards=np.append(rewards[where][part], 0.0),
                    terminateds=np.append(terminated[where][part], False).astype(float),
                    truncateds=np.append(
                        [False] * (end - start) + [not terminated[member, end, env]], False
                    ).astype(float),
                    gamma=discounts[member],
                    lambda_=decays[member],
                )[:-1]
                expected = targets - values[where][part]
                np.testing.assert_allclose(found.numpy()[where][part], expected, atol=1e-5)
                start = end + 1


def test_advantages_are_standardised_with_those_of_stand_ins():
    advantages, others = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([-4.0, 10.0])
    own = np.array([1.0, 2.0, 3.0, 6.0, -4.0, 10.0])
    found = standardised(advantages, others)
    np.testing.assert_allclose(found.numpy(), ((own - own.mean()) / own.std())[:4], rtol=1e-6)
    assert not bool(standardised(torch.full((4,), 5.0), torch.full((2,), 5.0)).any())
