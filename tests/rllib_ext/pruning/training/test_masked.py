import copy

import pytest
import torch
from torch import nn

from rllib_ext.pruning.masks import full_masks
from rllib_ext.pruning.structure.constants import DeadWeights
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.training.masked import MaskedNetwork


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


@pytest.fixture
def optimizer(network):
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(8, 4)).pow(2).mean().backward()
    optimizer.step()
    return optimizer


@pytest.fixture
def masked(network, optimizer):
    weights = {name: p for name, p in network.named_parameters() if p.dim() == 2}
    return MaskedNetwork(network, weights, lambda: [optimizer], None, None)


def without(masks, *places):
    masks = {name: mask.clone() for name, mask in masks.items()}
    for name, place in places:
        masks[name][place] = False
    return masks


def test_what_goes_is_zero_and_has_no_moments(network, optimizer, masked):
    assert masked.prune_(without(masked.masks, ("0.weight", (1, 2))))
    weight = network[0].weight
    assert weight[1, 2] == 0.0
    assert optimizer.state[weight]["exp_avg"][1, 2] == 0.0
    assert int((weight == 0).sum()) == 1


def test_nothing_goes_where_masks_keep_the_same(network, masked):
    before = [p.detach().clone() for p in network.parameters()]
    assert not masked.prune_(full_masks({n: network.get_parameter(n) for n in masked.masks}))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_what_comes_back_is_next_to_zero_and_what_gave_way_is_zero(network, masked):
    masked.prune_(without(masked.masks, ("2.weight", (0, 0))))
    back = full_masks({n: network.get_parameter(n) for n in masked.masks})
    assert masked.exchange_(without(back, ("2.weight", (1, 1))), 0.2)
    weight = network[2].weight
    assert 0.0 < float(weight.detach()[0, 0]) < 1e-5
    assert weight[1, 1] == 0.0


PROBE = Probe(
    inputs=lambda _, generator: torch.randn(4, 4, generator=generator),
    forward=lambda module, x: module(x),
    observations=4,
)


@pytest.fixture
def live(network, optimizer):
    weights = {name: p for name, p in network.named_parameters() if p.dim() == 2}
    dead = DeadWeights(network, PROBE, trace(network, PROBE))
    return MaskedNetwork(network, weights, lambda: [optimizer], None, dead)


def test_what_an_exchange_leaves_dead_goes_on_in_biases(network, live):
    """A unit loses its inputs, and another one gets what was pruned before."""
    live.prune_(without(live.masks, ("0.weight", (0, 0))))
    expected = copy.deepcopy(network)
    with torch.no_grad():
        network[0].weight[1] *= 1e-3
        expected[0].weight[1] = 0.0
    grown = full_masks({n: network.get_parameter(n) for n in live.masks})
    places = [("0.weight", (1, column)) for column in range(4)]
    places += [("2.weight", (row, 1)) for row in range(2)]
    # Four of the first layer's eleven weights give way.
    assert live.exchange_(without(grown, *places), 0.36)
    inputs = torch.randn(64, 4)
    torch.testing.assert_close(network(inputs), expected(inputs), rtol=0, atol=1e-5)
    assert int(live.masks["2.weight"].sum()) == 4


def test_where_nothing_comes_back_nothing_goes(network, live):
    """Not even what would be dead then, whose constants would lie in biases."""
    masked = live
    before = [p.detach().clone() for p in network.parameters()]
    masks = masked.masks
    unit_without_inputs = [("0.weight", (1, column)) for column in range(4)]
    assert not masked.exchange_(without(masks, *unit_without_inputs), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert masked.masks is masks


def test_loaded_masks_leave_moments_as_they_are(network, optimizer, masked):
    weight = network[0].weight
    moments = optimizer.state[weight]["exp_avg"].clone()
    masked.load_(without(masked.masks, ("0.weight", (0, 0))))
    assert weight[0, 0] == 0.0
    assert torch.equal(optimizer.state[weight]["exp_avg"], moments)


def test_masks_hold_after_a_step(network, optimizer, masked):
    masked.prune_(without(masked.masks, ("0.weight", (1, 2))))
    network(torch.randn(8, 4)).pow(2).mean().backward()
    gradients = [(p, p.grad) for p in network.parameters()]
    masked.mask_gradients_(gradients)
    assert network[0].weight.grad[1, 2] == 0.0
    with torch.no_grad():
        network[0].weight.add_(1.0)
    masked.enforce_()
    assert network[0].weight[1, 2] == 0.0
