"""Live weights against brute force: what goes does nothing, and all that stays does something."""

import copy

import pytest
import torch
from torch import nn

from rllib_ext.pruning.masks import apply_masks_
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.constants import DeadWeights
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.structure.probe import flatten

KINDS = ["actor_critic", "convolutional", "concatenated", "residual", "two_encoders", "recurrent"]


@pytest.fixture
def smooth(networks, monkeypatch):
    """Builds a network of a kind with tanh for relu: no unit is silent by chance."""
    monkeypatch.setattr(torch.Tensor, "relu", torch.Tensor.tanh)

    def build(kind, seed):
        torch.manual_seed(seed)
        module = networks[kind]().double()
        for name, child in list(module.named_modules()):
            if isinstance(child, nn.ReLU):
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, nn.Tanh())
        return module

    return build


def drawn_masks(weights, density, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(w.shape, generator=generator) < density for n, w in weights.items()}


def double(probe):
    def inputs(module, generator):
        found = probe.inputs(module, generator)
        if isinstance(found, dict):
            return {key: value.double() for key, value in found.items()}
        return found.double()

    return type(probe)(inputs=inputs, forward=probe.forward, observations=probe.observations)


def outputs(module, probe, seed=5):
    with torch.no_grad():
        found = probe.forward(module, probe.inputs(module, torch.Generator().manual_seed(seed)))
    return torch.cat([value.flatten() for value in flatten(found).values()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", [0.08, 0.2, 0.5])
def test_dead_weights_do_nothing_and_all_others_do_something(kind, density, smooth, probe_for):
    kept = dead = 0
    for seed in range(3):
        module = smooth(kind, seed)
        probe = double(probe_for(module.shape, batch=16))
        weights = prunable_weights(module).policy
        masks = drawn_masks(weights, density, seed)
        masked = copy.deepcopy(module)
        apply_masks_(dict(masked.named_parameters()), masks)
        found = DeadWeights(module, probe, trace(module, probe)).remove_(weights, masks)
        expected = outputs(masked, probe)
        torch.testing.assert_close(outputs(module, probe), expected, rtol=0, atol=1e-9)
        for name, mask in found.items():
            assert bool((mask <= masks[name]).all())
            assert bool((weights[name][~mask] == 0).all())
            dead += int((masks[name] & ~mask).sum())
            for place in mask.nonzero().tolist():
                with torch.no_grad():
                    value = weights[name][tuple(place)].clone()
                    weights[name][tuple(place)] = 0.0
                    changed = (outputs(module, probe) - expected).abs().max()
                    weights[name][tuple(place)] = value
                assert changed > 0, (name, place)
                kept += 1
    if density < 0.1:
        assert dead > 5
    if density > 0.4:
        assert kept > 20


@pytest.mark.parametrize("kind", ["actor_critic", "convolutional", "concatenated", "two_encoders"])
def test_no_live_weight_reads_what_never_changes(kind, smooth, probe_for):
    for seed in range(5):
        module = smooth(kind, seed)
        probe = double(probe_for(module.shape, batch=32))
        weights = prunable_weights(module).policy
        masks = drawn_masks(weights, 0.15, seed)
        found = DeadWeights(module, probe, trace(module, probe)).remove_(weights, masks)
        still = {}

        def look(layer, args, _, still=still):
            axis = 1 if isinstance(layer, nn.Conv2d) else -1
            columns = args[0].movedim(axis, 0).flatten(1)
            still[layer] = columns.std(dim=1) < 1e-12

        hooks = [
            module.get_submodule(name.removesuffix(".weight")).register_forward_hook(look)
            for name in weights
        ]
        outputs(module, probe)
        for hook in hooks:
            hook.remove()
        for name, mask in found.items():
            constant = still[module.get_submodule(name.removesuffix(".weight"))]
            assert not bool(mask[:, constant].any()), name


class TwoLayers(nn.Module):
    """Small enough to say by hand what is at work."""

    shape = (2,)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x):
        return self.second(self.first(x).tanh())


def test_a_unit_without_inputs_becomes_part_of_a_bias(probe_for):
    module = TwoLayers()
    probe = probe_for(module.shape)
    weights = prunable_weights(module).policy
    masks = {
        "first.weight": torch.tensor([[True, False], [False, False]]),
        "second.weight": torch.tensor([[True, True]]),
    }
    bias, silent = module.second.bias.item(), module.first.bias[1].item()
    added = module.second.weight[0, 1].item() * torch.tanh(torch.tensor(silent)).item()
    found = DeadWeights(module, probe, trace(module, probe)).remove_(weights, masks)
    assert found["second.weight"].tolist() == [[True, False]]
    assert module.second.bias.item() == pytest.approx(bias + added, abs=1e-7)


def test_what_nobody_reads_is_dead(probe_for):
    module = TwoLayers()
    liveness = Liveness(trace(module, probe_for(module.shape)))
    masks = {
        "first.weight": torch.ones(2, 2, dtype=torch.bool),
        "second.weight": torch.tensor([[False, True]]),
    }
    live = liveness.live(masks)
    assert live["first.weight"].tolist() == [[False, False], [True, True]]
    places = liveness.places(masks)
    assert places["first.weight"].tolist() == [[False, False], [True, True]]
    assert places["second.weight"].tolist() == [[True, True]]


class Padded(nn.Module):
    """A convolution that pads reads a channel that is the same everywhere but at its border."""

    shape = (1, 4, 4)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x):
        return self.second(self.first(x).tanh()).flatten(1)


def test_a_constant_that_no_bias_can_stand_for_counts_as_at_work(probe_for):
    module = Padded()
    probe = probe_for(module.shape)
    weights = prunable_weights(module).policy
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    masks["first.weight"][1] = False
    masked = copy.deepcopy(module)
    apply_masks_(dict(masked.named_parameters()), masks)
    found = DeadWeights(module, probe, trace(module, probe)).remove_(weights, masks)
    assert bool(found["second.weight"].all())
    torch.testing.assert_close(outputs(module, probe), outputs(masked, probe))


def test_weights_that_may_not_go_stay(probe_for):
    module = TwoLayers()
    probe = probe_for(module.shape)
    weights = prunable_weights(module).policy
    masks = {
        "first.weight": torch.zeros(2, 2, dtype=torch.bool),
        "second.weight": torch.ones(1, 2, dtype=torch.bool),
    }
    before = module.second.bias.item()
    found = DeadWeights(module, probe, trace(module, probe), ["second.weight"]).remove_(
        weights, masks
    )
    assert bool(found["second.weight"].all())
    assert module.second.bias.item() == before
