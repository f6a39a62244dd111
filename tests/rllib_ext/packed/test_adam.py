"""Stacked Adam against torch's."""

import gymnasium as gym
import pytest
import torch

from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.network import StackedNetwork, build_module, rows_of
from rllib_ext.pruning.training.optimizer import copy_moments, restore_moments_

RATES = (1e-4, 1e-2, 3e-3)


@pytest.fixture
def stacked(packed_ppo):
    spec = packed_ppo().get_rl_module_spec(env=gym.make("CartPole-v1"))
    network = StackedNetwork([build_module(spec, seed).double() for seed in range(3)])
    return network, StackedAdam(network)


def test_steps_are_those_of_torch_with_a_rate_each(stacked):
    network, adam = stacked
    generator = torch.Generator().manual_seed(0)
    alone = [torch.nn.Parameter(row.clone()) for row in network.weights]
    references = [torch.optim.Adam([p], lr=r) for p, r in zip(alone, RATES, strict=True)]
    for turn in range(30):
        chosen = [0, 1, 2] if turn % 3 else [0, 2]
        rows = rows_of(chosen, network)
        gradients = torch.randn(
            len(chosen), network.weights.shape[1], generator=generator, dtype=torch.float64
        )
        rates = torch.tensor(RATES, dtype=torch.float64)[chosen]
        adam.step_(gradients, rates, rows)
        for i, gradient in zip(chosen, gradients, strict=True):
            alone[i].grad = gradient.clone()
            references[i].step()
    assert adam.steps.tolist() == [30.0, 20.0, 30.0]
    for i, parameter in enumerate(alone):
        torch.testing.assert_close(network.weights[i], parameter.detach(), rtol=0, atol=1e-14)
        state = references[i].state[parameter]
        torch.testing.assert_close(adam.first[i], state["exp_avg"], rtol=0, atol=1e-15)
        torch.testing.assert_close(adam.second[i], state["exp_avg_sq"], rtol=0, atol=1e-15)


def test_a_member_s_optimizer_shows_and_changes_its_moments(stacked):
    network, adam = stacked
    adam.step_(
        torch.ones_like(network.weights), torch.full((3,), 1e-3, dtype=torch.float64), slice(None)
    )
    module, optimizer = network.modules[1], adam.members[1]
    name, parameter = next(iter(module.named_parameters()))
    assert optimizer.state[parameter]["step"] == 1.0
    saved = copy_moments([optimizer], {name: parameter})
    first = adam.first.clone()
    optimizer.state[parameter]["exp_avg"].fill_(9.0)
    assert bool((network.part(adam.first[1], name) == 9.0).all())
    assert not bool((adam.first[[0, 2]] == 9.0).any())
    restore_moments_([optimizer], {name: parameter}, saved)
    assert torch.equal(adam.first, first)


def test_moments_that_somebody_removed_start_anew(stacked):
    network, adam = stacked
    adam.step_(
        torch.ones_like(network.weights), torch.full((3,), 1e-3, dtype=torch.float64), slice(None)
    )
    parameters = dict(network.modules[1].named_parameters())
    restore_moments_([adam.members[1]], parameters, [{name: {} for name in parameters}])
    adam.reconnect_(1)
    assert adam.steps.tolist() == [1.0, 0.0, 1.0]
    assert not bool(adam.first[1].any() or adam.second[1].any())
    assert bool(adam.first[[0, 2]].all())
    adam.members[1].state[next(iter(parameters.values()))]["exp_avg"].fill_(4.0)
    assert bool((adam.first[1] == 4.0).any())
