"""Sums over paths, against paths that are walked one by one, and against automatic differentiation."""

import copy
import itertools

import pytest
import torch
from torch import nn

from rllib_ext.pruning.criteria import Statistics, score
from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.masks import full_masks
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.paths import Paths


class Deep(nn.Module):
    """Three hidden layers, of different widths, and biases that begin no path."""

    shape = (3,)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 3)])
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return self.head(x)


def drawn_masks(weights, seed, density=0.6):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(w.shape, generator=generator) < density for n, w in weights.items()}


def scores_of(module, probe, masks, names=None):
    weights = dict(prunable_weights(module).policy)
    paths = Paths(module, trace(module, probe), names or list(weights)).through(masks)
    masked = {name: weights[name].detach() * masks[name] for name in paths}
    return score("synflow", masked, Statistics(paths=paths))


@pytest.mark.parametrize("seed", range(4))
def test_a_weights_score_is_the_product_over_each_path_through_it_summed(seed, probe_for):
    torch.manual_seed(seed)
    module = Deep()
    weights = dict(prunable_weights(module).policy)
    masks = drawn_masks(weights, seed)
    sizes = {n: (w.detach().abs() * masks[n]).double() for n, w in weights.items()}
    expected = {name: torch.zeros_like(size) for name, size in sizes.items()}
    for units in itertools.product(range(3), range(4), range(5), range(3), range(2)):
        places = list(zip(sizes, zip(units[1:], units[:-1], strict=True), strict=True))
        product = torch.stack([sizes[name][place] for name, place in places]).prod()
        for name, place in places:
            expected[name][place] += product
    found = scores_of(module, probe_for(module.shape), masks)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
        assert bool((found[name] > 0).any())


def linear_twin(module, masks):
    """The network with absolute masked weights, no biases, and identities for activations."""
    twin = copy.deepcopy(module).double()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(parameter.abs() * masks[name] if name in masks else 0.0)
    for name, child in list(twin.named_modules()):
        if isinstance(child, nn.Tanh | nn.ReLU):
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, nn.Identity())
    return twin


def ones(shape):
    if isinstance(shape, dict):
        return {key: ones(part) for key, part in shape.items()}
    return torch.ones(1, *shape, dtype=torch.float64)


@pytest.mark.parametrize(
    "kind", ["actor_critic", "concatenated", "residual", "convolutional", "two_encoders"]
)
@pytest.mark.parametrize("seed", range(2))
def test_so_it_is_where_layers_join_branch_and_convolve(
    kind, seed, networks, probe_for, monkeypatch
):
    torch.manual_seed(seed)
    module = networks[kind]()
    weights = dict(prunable_weights(module).policy)
    masks = drawn_masks(weights, seed)
    found = scores_of(module, probe_for(module.shape), masks)
    for activation in ("relu", "tanh"):
        monkeypatch.setattr(torch.Tensor, activation, lambda x: x)
    twin = linear_twin(module, masks)
    outputs = twin(ones(module.shape))
    flow = sum(y.sum() for y in outputs.values()) if isinstance(outputs, dict) else outputs.sum()
    flow.backward()
    for name, parameter in twin.named_parameters():
        if name in weights:
            torch.testing.assert_close(found[name], parameter.grad * parameter.detach())


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_paths_pass_a_recurrent_matrix_at_most_once(cell, networks, probe_for):
    torch.manual_seed(0)
    module = networks["recurrent"](cell)
    weights = dict(prunable_weights(module).policy)
    masks = drawn_masks(weights, 0)
    size = {n: (w.detach().abs() * masks[n]).double().requires_grad_() for n, w in weights.items()}
    tokens = size["tokens.weight"].sum(1)
    # A path may enter a unit by each of its gates.
    first = (size["core.weight_ih_l0"] @ tokens).view(-1, 8).sum(0)
    second = first + (size["core.weight_hh_l0"] @ first).view(-1, 8).sum(0)
    (size["head.weight"] @ second).sum().backward()
    found = scores_of(module, probe_for(module.shape), masks)
    for name, value in size.items():
        torch.testing.assert_close(found[name], value.grad * value.detach())


def test_what_flows_into_a_layer_flows_out_of_it(probe_for):
    """The paper's theorem 2: all cuts of a network carry the same flow."""
    torch.manual_seed(1)
    module = Deep()
    masks = drawn_masks(dict(prunable_weights(module).policy), 1)
    flows = [s.sum() for s in scores_of(module, probe_for(module.shape), masks).values()]
    torch.testing.assert_close(torch.stack(flows), flows[0].expand(len(flows)))


def test_layers_that_stay_dense_are_part_of_the_paths(probe_for):
    module = Deep()
    masks = full_masks(dict(prunable_weights(module).policy))
    probe = probe_for(module.shape)
    whole = scores_of(module, probe, masks)
    del masks["layers.1.weight"]
    with torch.no_grad():
        paths = Paths(module, trace(module, probe), list(masks)).through(masks)
    for name, sums in paths.items():
        torch.testing.assert_close(module.get_parameter(name).detach().abs() * sums, whole[name])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LayerNorm(4), "mixes its units"),
        (nn.LSTM(4, 4, num_layers=2), r"what 1\.weight_hh_l0, .*connects"),
    ],
)
def test_paths_that_cannot_be_followed_are_refused_with_the_reason(layer, message, probe_for):
    module = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
    if isinstance(layer, nn.LSTM):
        module.forward = lambda x: module[2](layer(module[0](x))[0])
    names = list(prunable_weights(module).policy)
    with pytest.raises(TraceError, match=message):
        Paths(module, trace(module, probe_for((3,))), names)
