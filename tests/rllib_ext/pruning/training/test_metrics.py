"""What stands, as numbers."""

import pytest
import torch
from torch import nn

from rllib_ext.pruning.schedule.decide import PruneTarget, ScheduleState
from rllib_ext.pruning.schedule.patience import Plateau
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.training.metrics import schedule_metrics, sparsity_metrics, structure_metrics


def test_sparsities_are_counted_from_stored_weights() -> None:
    policy = {
        "a": nn.Parameter(torch.tensor([[0.0, 1.0], [0.0, 2.0]])),
        "b": nn.Parameter(torch.tensor([[3.0, 0.0]])),
    }
    critic = {"v": nn.Parameter(torch.zeros(2, 2))}
    assert sparsity_metrics(PrunableWeights(policy, critic)) == {
        "sparsity": 0.5,
        "critic_sparsity": 1.0,
        "zeros": 3,
        "nonzero_params": 3,
        "total_params": 6,
        "layers": {"a": 0.5, "b": 0.5, "v": 1.0},
    }


def test_a_network_without_prunable_weights_has_sparsity_0() -> None:
    metrics = sparsity_metrics(PrunableWeights({}, {}))
    assert (metrics["sparsity"], metrics["total_params"], metrics["layers"]) == (0.0, 0, {})


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        (None, {}),
        (
            PruneTarget(sparsity=0.4, critic_sparsity=0.2, threshold=None),
            {"critic_target_sparsity": 0.2, "target_sparsity": 0.4},
        ),
        (
            PruneTarget(sparsity=None, critic_sparsity=0.0, threshold=0.1),
            {"critic_target_sparsity": 0.0, "threshold": 0.1},
        ),
    ],
)
def test_only_what_is_in_force_is_reported(extent: PruneTarget | None, expected) -> None:
    assert schedule_metrics(extent, ScheduleState(), patience=3) == expected


def test_the_plateau_rule_reports_how_long_it_waits() -> None:
    standing = ScheduleState(plateau=Plateau(step=0.1, waited=2))
    assert schedule_metrics(None, standing, 3) == {"patience_left": 1, "plateau_step": 0.1}


def test_single_weights_have_no_groups() -> None:
    assert structure_metrics(None, {}) == {}
