"""SynFlow in training, against the paper's algorithm written out."""

import itertools

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner

HORIZON = 1000
SIZES = (6, 24, 24, 24, 3)


def network(seed):
    torch.manual_seed(seed)
    layers = [nn.Linear(*sizes) for sizes in itertools.pairwise(SIZES)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


def pruner_of(module, probe, **values):
    config = PruningConfig(
        **{
            "horizon": HORIZON, "schedule": "one_shot", "begin": 0.0, "end": 1.0,
            "criterion": "synflow", **values,
        }
    )  # fmt: skip
    return Pruner(module, list, config, graph=lambda: trace(module, probe), probe=probe)


def papers_masks(module, sparsity):
    """Tanaka et al. 2020, algorithm 1, each round scored by automatic differentiation."""
    weights = {
        n: p.detach().abs().double() for n, p in module.named_parameters() if n.endswith("weight")
    }
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    total = left = sum(w.numel() for w in weights.values())
    wanted = total - round(sparsity * total)
    while left > wanted:
        masked = {name: (w * masks[name]).requires_grad_() for name, w in weights.items()}
        flow = torch.ones(SIZES[0], dtype=torch.float64)
        for weight in masked.values():
            flow = weight @ flow
        flow.sum().backward()
        scores = {name: w.grad * w.detach() for name, w in masked.items()}
        kept = torch.cat([scores[name][mask] for name, mask in masks.items()])
        left = max(wanted, left - int(0.1 * left))
        lowest = kept.sort(descending=True).values[left - 1]
        masks = {name: mask & (scores[name] >= lowest) for name, mask in masks.items()}
    return masks


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_the_papers_algorithm(seed, probe_for):
    module = network(seed)
    # Sparser networks have chains, along which all scores are equal.
    expected = papers_masks(module, 0.6)
    pruner = pruner_of(module, probe_for((6,)), final_sparsity=0.6, count="kept")
    pruner.before_update(1)
    for name, mask in expected.items():
        assert torch.equal(pruner.masks[name], mask), name


def test_at_sparsities_at_which_magnitude_cuts_a_network_through_all_is_at_work(probe_for):
    module = network(0)
    pruner = pruner_of(module, probe_for((6,)), final_sparsity=0.98, count="kept")
    pruner.before_update(1)
    kept = sum(int(mask.sum()) for mask in pruner.masks.values())
    live = pruner_of(module, probe_for((6,)), final_sparsity=0.0)._dead.liveness
    assert live.count(pruner.masks, pruner.masks) >= kept - 2
    other = network(0)
    by_size = pruner_of(
        other, probe_for((6,)), final_sparsity=0.98, count="kept", criterion="magnitude"
    )
    by_size.before_update(1)
    assert live.count(by_size.masks, by_size.masks) < kept / 2


def test_a_network_whose_paths_cannot_be_followed_is_refused_with_the_reason(probe_for):
    module = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    with pytest.raises(ConfigError, match=r"criterion='synflow' .*mixes its units.*magnitude"):
        pruner_of(module, probe_for((6,)))
    config = PruningConfig(horizon=HORIZON, criterion="synflow")
    with pytest.raises(ConfigError, match="how to run it"):
        Pruner(module, list, config)
