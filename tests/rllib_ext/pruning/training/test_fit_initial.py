"""First weights of what is left, held against networks that were built that small."""

import math

import pytest
import torch
from torch import nn

from rllib_ext.pruning.masks import apply_masks_
from rllib_ext.pruning.training.fit_initial import fit_initial_

INPUTS, ACTIONS, WIDE = 4, 3, (48, 32)
NETWORKS = 500


def built(widths, gains, generator):
    """A policy with torch's first weights, or with orthogonal ones of some gains and no biases."""
    first, second = widths
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = nn.Sequential(
            nn.Linear(INPUTS, first), nn.Tanh(), nn.Linear(first, second), nn.Tanh(),
            nn.Linear(second, ACTIONS),
        )  # fmt: skip
        for layer, gain in zip((network[0], network[2], network[4]), gains or (), strict=False):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
    return network


def narrowed(network, widths, generator):
    """The network with so many units left of each hidden layer, drawn anew."""
    rows = [
        torch.randperm(wide, generator=generator)[:width]
        for wide, width in zip(WIDE, widths, strict=True)
    ]
    sides = [torch.arange(INPUTS), *rows, torch.arange(ACTIONS)]
    masks = {}
    for (name, weight), columns, kept in zip(
        [(n, p) for n, p in network.named_parameters() if p.dim() > 1],
        sides,
        sides[1:],
        strict=False,
    ):
        masks[name] = torch.zeros_like(weight, dtype=torch.bool)
        masks[name][kept[:, None], columns[None, :]] = True
    fit_initial_(network, masks)
    apply_masks_(dict(network.named_parameters()), masks)
    return network, masks


@torch.no_grad()
def mean_square(networks, generator):
    """Of the outputs, over networks and inputs of the size of observations."""
    x = 0.7 * torch.randn(64, INPUTS, generator=generator)
    return float(torch.stack([network(x).square().mean() for network in networks]).mean())


@pytest.mark.parametrize(
    "gains", [None, (math.sqrt(2), math.sqrt(2), 0.01)], ids=["torch", "ortho"]
)
@pytest.mark.parametrize("widths", [(2, 2), (6, 4), (24, 16)])
def test_outputs_of_narrow_networks_are_as_large_as_those_of_small_ones(gains, widths):
    generator = torch.Generator().manual_seed(1)
    small = [built(widths, gains, generator) for _ in range(NETWORKS)]
    narrow = [
        narrowed(built(WIDE, gains, generator), widths, generator)[0] for _ in range(NETWORKS)
    ]
    ratio = mean_square(narrow, generator) / mean_square(small, generator)
    # Two standard errors of 500 networks with three actions each are about 0.1.
    assert ratio == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("widths", [(2, 2), (6, 4), (24, 16)])
def test_what_is_left_of_an_orthogonal_matrix_is_orthogonal_with_its_gain(widths):
    generator = torch.Generator().manual_seed(2)
    gains = (math.sqrt(2), 0.7, 0.01)
    network, masks = narrowed(built(WIDE, gains, generator), widths, generator)
    for (name, mask), gain in zip(masks.items(), gains, strict=True):
        block = network.get_parameter(name)[mask.any(1)][:, mask.any(0)]
        product = block @ block.T if block.shape[0] <= block.shape[1] else block.T @ block
        torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), rtol=0, atol=1e-5)


def test_each_unit_of_a_sparse_layer_is_scaled_by_its_own_inputs():
    torch.manual_seed(3)
    layer = nn.Linear(100, 5)
    masks = {"weight": torch.zeros(5, 100, dtype=torch.bool)}
    for unit, inputs in enumerate((1, 4, 25, 100, 0)):
        masks["weight"][unit, :inputs] = True
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    fit_initial_(layer, masks)
    factors = torch.tensor([10.0, 5.0, 2.0, 1.0, 1.0])
    torch.testing.assert_close(layer.weight.detach(), weight * factors[:, None])
    torch.testing.assert_close(layer.bias.detach(), bias * factors)


def test_a_bias_that_was_set_stays():
    torch.manual_seed(4)
    layer = nn.Linear(64, 4)
    with torch.no_grad():
        layer.bias[2:] = -0.5
        layer.bias[1] = 0.0
    drawn = float(layer.bias[0].detach())
    mask = torch.zeros(4, 64, dtype=torch.bool)
    mask[:, :16] = True
    fit_initial_(layer, {"weight": mask})
    torch.testing.assert_close(layer.bias.detach(), torch.tensor([2 * drawn, 0.0, -0.5, -0.5]))


def test_so_does_a_constant_as_small_as_what_is_drawn():
    torch.manual_seed(4)
    layer = nn.Linear(64, 4)
    with torch.no_grad():
        layer.bias[2:] = 0.1
    drawn = layer.bias[:2].detach().clone()
    mask = torch.zeros(4, 64, dtype=torch.bool)
    mask[:, :16] = True
    fit_initial_(layer, {"weight": mask}, constants=[0.1])
    torch.testing.assert_close(layer.bias[:2].detach(), 2 * drawn)
    assert layer.bias[2:].tolist() == torch.full((2,), 0.1).tolist()


def test_a_channel_counts_with_its_whole_kernel_and_a_recurrent_unit_with_its_gates():
    torch.manual_seed(5)
    network = nn.ModuleDict({"conv": nn.Conv2d(8, 3, 2), "core": nn.LSTM(5, 16)})
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    channels = torch.zeros(3, 8, 2, 2, dtype=torch.bool)
    channels[:, :2] = True
    hidden = torch.zeros(64, 16, dtype=torch.bool)
    units = torch.arange(64) % 16 < 4
    hidden[units, :4] = True
    fit_initial_(network, {"conv.weight": channels, "core.weight_hh_l0": hidden})
    found = dict(network.named_parameters())
    torch.testing.assert_close(found["conv.weight"].detach(), 2 * before["conv.weight"])
    for name in ("weight_hh_l0", "bias_hh_l0"):
        own = found[f"core.{name}"].detach()
        torch.testing.assert_close(own[units], 2 * before[f"core.{name}"][units])
    assert torch.equal(found["core.weight_ih_l0"], before["core.weight_ih_l0"])
