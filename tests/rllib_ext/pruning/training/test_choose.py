"""The contract of every criterion × scope × granularity: how much goes, and that it nests."""

import dataclasses
from typing import get_args

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import Criterion, Granularity, PruningConfig, Scope
from rllib_ext.pruning.criteria import READS
from rllib_ext.pruning.errors import ScoreError
from rllib_ext.pruning.masks import full_masks
from rllib_ext.pruning.schedule.decide import PruneTarget
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.paths import Paths
from rllib_ext.pruning.training.choose import (
    config_for_next_masks,
    exchanged,
    kinds_for,
    masks_for,
    statistics_for,
)
from rllib_ext.pruning.training.statistics import Gatherer

# Granularity → a network that has such groups, and the shape of its observations.
NETWORKS = {
    "weight": ("actor_critic", (6,)),
    "neuron": ("actor_critic", (6,)),
    "layer": ("residual", (6,)),
    "branch": ("two_encoders", {"camera": (2, 5, 5), "speed": (3,)}),
}
SPARSITIES = (0.0, 0.1, 0.35, 0.6, 0.85, 0.95)


@pytest.fixture(params=get_args(Granularity))
def granularity(request: pytest.FixtureRequest) -> str:
    return request.param


class Case:
    """A network whose statistics were gathered over two minibatches, with ties among its weights."""

    def __init__(self, criterion: str, scope: str, granularity: str, networks, probe_for) -> None:
        name, shape = NETWORKS[granularity]
        torch.manual_seed(0)
        self.net: nn.Module = networks[name]()
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_((parameter * 8).round() / 8)
        probe = probe_for(shape)
        self.weights = prunable_weights(self.net, ["vf"])
        all_weights = {**self.weights.policy, **self.weights.critic}
        self.masks = full_masks(all_weights)
        self.config = PruningConfig(
            criterion=criterion,
            scope=scope,
            granularity=granularity,
            damage={name: [(0.5, 0.1), (0.9, 1.0)] for name in self.weights.policy},
        )
        self.structure = (
            None
            if granularity == "weight"
            else build_structure(trace(self.net, probe), granularity, all_weights)
        )
        gatherer = Gatherer(self.net, all_weights, kinds_for(self.config), window=8)
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            self.net.zero_grad()
            outputs = self.net(probe.inputs(self.net, generator))
            parts = outputs.values() if isinstance(outputs, dict) else [outputs]
            sum(part.square().mean() for part in parts).backward()
            gatherer.observe_gradients([(p, p.grad) for p in self.net.parameters()])
        self.statistics = statistics_for(self.config, 3, gatherer.values)
        if criterion == "synflow":
            paths = Paths(self.net, trace(self.net, probe), list(all_weights)).through(self.masks)
            self.statistics = dataclasses.replace(self.statistics, paths=paths)

    def pruned_to(self, sparsity: float, masks=None) -> dict[str, torch.Tensor]:
        extent = PruneTarget(sparsity=sparsity, critic_sparsity=0.0, threshold=None)
        masks = self.masks if masks is None else masks
        return masks_for(self.config, self.structure, self.weights, masks, self.statistics, extent)

    def lost(self, masks) -> int:
        return sum(int((~masks[name]).sum()) for name in self.weights.policy)


@pytest.mark.parametrize("scope", get_args(Scope))
@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_counts_hold_and_masks_nest(criterion, scope, granularity, networks, probe_for) -> None:
    case = Case(criterion, scope, granularity, networks, probe_for)
    total = sum(weight.numel() for weight in case.weights.policy.values())
    masks = case.masks
    for sparsity in SPARSITIES:
        before, masks = masks, case.pruned_to(sparsity, masks)
        assert set(masks) == set(case.masks)
        assert all(bool((masks[name] <= before[name]).all()) for name in masks)
        if granularity == "weight":
            assert case.lost(masks) == round(sparsity * total)
        else:
            assert case.lost(masks) <= sparsity * total
            removed = case.structure.removed(masks)
            again = case.structure.keep_masks(removed, case.masks)
            assert all(torch.equal(again[name], mask) for name, mask in masks.items())
    assert granularity in ("layer", "branch") or case.lost(masks) > 0.5 * total


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_the_same_statistics_give_the_same_masks(
    criterion, granularity, networks, probe_for
) -> None:
    first = Case(criterion, "global", granularity, networks, probe_for).pruned_to(0.7)
    second = Case(criterion, "global", granularity, networks, probe_for).pruned_to(0.7)
    assert all(torch.equal(first[name], mask) for name, mask in second.items())


def test_criteria_choose_differently(networks, probe_for) -> None:
    """But for the two magnitudes, which rank single weights alike; at few weights, for LAMP."""
    chosen = {
        criterion: Case(criterion, "global", "weight", networks, probe_for).pruned_to(0.8)
        for criterion in get_args(Criterion)
    }
    flat = {
        criterion: torch.cat([mask.flatten() for mask in masks.values()])
        for criterion, masks in chosen.items()
    }
    assert torch.equal(flat["magnitude"], flat["magnitude_l2"])
    rest = [criterion for criterion in flat if criterion != "magnitude_l2"]
    for i, one in enumerate(rest):
        assert not any(torch.equal(flat[one], flat[other]) for other in rest[i + 1 :])


@pytest.mark.parametrize("criterion", [c for c in get_args(Criterion) if c != "random"])
def test_weights_that_cannot_be_ranked_name_their_layer(
    criterion, granularity, networks, probe_for
) -> None:
    case = Case(criterion, "global", granularity, networks, probe_for)
    name = list(case.weights.policy)[1]
    with torch.no_grad():
        case.weights.policy[name].fill_(float("nan"))
    with pytest.raises(ScoreError, match=f"'{name}'"):
        case.pruned_to(0.5)


def test_a_threshold_of_nothing_prunes_nothing_although_movement_is_signed(
    granularity, networks, probe_for
) -> None:
    case = Case("movement", "global", granularity, networks, probe_for)
    assert any(bool((v < 0).any()) for v in case.statistics.movement.values())
    extent = PruneTarget(sparsity=None, critic_sparsity=0.0, threshold=0.0)
    masks = masks_for(
        case.config, case.structure, case.weights, case.masks, case.statistics, extent
    )
    assert case.lost(masks) == 0


def test_only_what_a_criterion_and_rigl_read_is_gathered() -> None:
    for criterion in get_args(Criterion):
        config = PruningConfig(
            criterion=criterion, damage={"pi": [(0.5, 0.1)]}, schedule="constant"
        )
        read = [READS[criterion]] if criterion in READS else []
        assert kinds_for(config) == kinds_for(config.replace(regrow="set")) == read
        assert kinds_for(config.replace(regrow="rigl")) == [*read, "mean_gradient"]


def test_only_the_first_masks_of_a_fresh_network_that_regrows_are_random() -> None:
    dense = {"pi": torch.ones(2, 2, dtype=torch.bool)}
    sparse = {"pi": torch.eye(2, dtype=torch.bool)}
    plain = PruningConfig(schedule="constant")
    regrowing = plain.replace(regrow="set")

    def chosen_by(config: PruningConfig, masks, *, trained: bool = False) -> str:
        return config_for_next_masks(config, masks, trained=trained).criterion

    assert chosen_by(regrowing, dense) == "random"
    assert chosen_by(regrowing, sparse) == "magnitude"
    assert chosen_by(regrowing, dense, trained=True) == "magnitude"
    assert chosen_by(plain, dense) == "magnitude"


def test_set_draws_anew_at_every_moment_and_rigl_follows_the_gradient(networks, probe_for) -> None:
    case = Case("magnitude", "global", "weight", networks, probe_for)
    masks, policy = case.pruned_to(0.5), case.weights.policy
    gradients = {name: torch.arange(float(w.numel())).view_as(w) for name, w in policy.items()}
    masks = {name: masks[name] for name in policy}

    def after(rule: str, moment: int) -> dict[str, torch.Tensor]:
        config = case.config.replace(regrow=rule, schedule="constant")
        return exchanged(config, policy, masks, gradients, share=0.5, seed=(1, moment))

    def differ(a, b) -> bool:
        return any(not torch.equal(a[name], b[name]) for name in a)

    assert differ(after("set", 100), after("set", 200))
    assert not differ(after("set", 100), after("set", 100))
    assert not differ(after("rigl", 100), after("rigl", 200))
    # The last weights have the largest gradients: none of them is left out.
    name = max(policy, key=lambda n: policy[n].numel())
    assert bool(after("rigl", 0)[name].flatten()[-5:].all())
