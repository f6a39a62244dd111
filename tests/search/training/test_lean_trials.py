"""What Tune writes of results and keeps of ended trials, with Tune's own trials."""

import json

import pytest
from ray.tune.experiment import Trial

from search.training.lean_trials import LeanTrials

METRICS = 40


@pytest.fixture
def trial():
    trial = Trial("none", stub=True)
    for i in range(20):
        figures = {f"metric{k}": float(i * k) for k in range(METRICS)}
        trial.update_last_result({"training_iteration": i + 1, "snapshot": "x" * 2_000, **figures})
    return trial


def test_a_result_is_written_without_the_plan_of_its_segments(trial):
    result = {"config": {"member": 3, "seed": 1}, "return_mean": 2.5}
    LeanTrials().on_trial_result(0, [trial], trial, result)
    assert result == {"return_mean": 2.5}
    LeanTrials().on_trial_result(0, [trial], trial, result)


def test_a_trial_that_has_ended_keeps_no_figures(trial):
    assert len(trial.metric_analysis) == len(trial.metric_n_steps) == METRICS + 1
    LeanTrials().on_trial_complete(0, [trial], trial)
    assert trial.metric_analysis == trial.metric_n_steps == {}
    assert "snapshot" not in trial.last_result


def test_nor_does_what_tune_writes_of_it(trial):
    before = len(trial.get_json_state()[1])
    LeanTrials().on_trial_complete(0, [trial], trial)
    after = trial.get_json_state()[1]
    assert len(after) < before / 10
    assert "metric1" not in after
    assert json.loads(after)["num_failures"] == 0


def test_others_keep_theirs(trial):
    other = Trial("none", stub=True)
    other.update_last_result({"training_iteration": 1, "metric0": 1.0})
    LeanTrials().on_trial_complete(0, [trial, other], trial)
    assert other.last_result["metric0"] == other.metric_analysis["metric0"]["last"] == 1.0
