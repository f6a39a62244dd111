"""What `prunefront prune` is asked to do: levels, ranges, contradictions."""

import json
from pathlib import Path

import pytest

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from search.runs.prune_settings import SPARSITIES, PruneSettings, settings_from

CHECKPOINT = Path("trained") / "checkpoint_000012"


def settings(**values):
    return PruneSettings(checkpoint=CHECKPOINT, pruning=PruningConfig(), **values)


def test_levels_rise_and_repeat_none():
    found = settings(sparsities=(0.9, 0.5, 0.9), thresholds=(0.2, 0.05)).levels()
    assert list(found) == ["sparsity-0.5", "sparsity-0.9", "threshold-0.05", "threshold-0.2"]
    assert (found["sparsity-0.9"].final_sparsity, found["sparsity-0.9"].threshold) == (0.9, None)
    assert (found["threshold-0.2"].final_sparsity, found["threshold-0.2"].threshold) == (None, 0.2)


def test_levels_that_differ_in_the_seventh_digit_are_two():
    found = settings(sparsities=(0.9999991, 0.9999992)).levels()
    assert [p.final_sparsity for p in found.values()] == [0.9999991, 0.9999992]


def test_without_levels_there_are_some():
    assert len(settings().levels()) == len(SPARSITIES)
    assert list(settings(thresholds=(0.1,)).levels()) == ["threshold-0.1"]


def test_sensitivity_takes_what_was_measured():
    plan = settings(criterion="sensitivity", sparsities=(0.5,))
    damage = {"pi.weight": [(0.5, 0.1), (1.0, 0.2)]}
    level = plan.levels(damage)["sparsity-0.5"]
    assert level.criterion == "sensitivity"
    assert dict(level.damage) == {"pi.weight": ((0.5, 0.1), (1.0, 0.2))}
    assert plan.nothing.final_sparsity == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsities": (1.0,)}, "final_sparsity = 1.0"),
        ({"thresholds": (0.0,)}, "threshold = 0.0"),
        ({"thresholds": (float("nan"),)}, "threshold = nan"),
        ({"retrain": -1}, "retrain = -1"),
        ({"gather": 0}, "gather = 0"),
        ({"episodes": 1}, "episodes = 1"),
        ({"seed": -1}, "seed = -1"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"lr": float("inf")}, "lr = inf; expected a finite number above 0"),
        ({"thresholds": (0.1, float("inf"))}, "threshold = inf"),
        ({"criterion": "magnitudo"}, "Did you mean 'magnitude'"),
    ],
)
def test_what_is_out_of_range_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        settings(**values)


def test_a_critic_cannot_be_ranked_by_what_was_measured_on_the_policy():
    pruning = PruningConfig(critic_final_sparsity=0.3)
    with pytest.raises(ConfigError, match="Leave the critic dense"):
        PruneSettings(checkpoint=CHECKPOINT, pruning=pruning, criterion="sensitivity")


def test_options_become_settings_that_a_file_can_hold():
    plan = settings_from(
        CHECKPOINT,
        sparsity=(0.5,),
        threshold=(),
        critic_sparsity=0.25,
        threshold_unit="std",
        granularity="neuron",
        scope="layerwise",
        exclude=("pi.*",),
        criterion="activation",
        retrain=3,
    )
    written = json.loads(json.dumps(plan.to_dict()))
    assert written["checkpoint"] == str(CHECKPOINT.resolve())
    assert written["pruning"] == {
        "critic_final_sparsity": 0.25,
        "threshold_unit": "std",
        "granularity": "neuron",
        "scope": "layerwise",
        "exclude": ["pi.*"],
    }
    (level,) = plan.levels().values()
    shown = plan.hyperparameters(level)
    assert (shown["pruning.criterion"], shown["retrain"]) == ("activation", 3)
    assert "pruning.threshold" not in shown
    assert plan.name == "prune-checkpoint_000012"
