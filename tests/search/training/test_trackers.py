import json

import pytest
from mlflow import MlflowClient
from pretended_search import coordinated

from rllib_ext.member.segment import Segment, config_of
from rllib_ext.pruning.errors import ConfigError
from search.training.trackers import refuse_missing, trackers


def segment(member):
    return Segment(
        member=member, segment=2, trial_number=1, seed=5, pruning={"final_sparsity": 0.9},
        training={"lr": 1e-3}, until_env_steps=200, evaluation_seeds=(1, 2), parent="m00-s001-i0007",
    )  # fmt: skip


def result(member, env_steps, done=False, **more):
    return {
        "member": member, "segment": 2, "iteration": env_steps // 100, "env_steps": env_steps,
        "segment_done": done, "pruning": {"sparsity": env_steps / 1_000, "event": "pruned"},
        "env_runners": {"episode_return_mean": float("nan")}, "failure": "", **more,
    }  # fmt: skip


def snapshot(mean):
    return {
        "return_mean": mean, "return_std": 1.0, "sparsity": 0.5, "critic_sparsity": 0.0,
        "nonzero_params": 7, "seeds": [1, 2], "checkpoint": "policies/x",
    }  # fmt: skip


class Trial:
    """What a tracker reads of one of Tune's trials."""

    def __init__(self, config):
        self.trial_id, self.config, self.local_path = "abc_00001", config, "/nowhere"


@pytest.fixture
def store(tmp_path):
    return (tmp_path / "mlruns").as_uri()


def tracked(store, **more):
    config = coordinated(trackers={"mlflow": {"tracking_uri": store, **more}})
    (tracker,) = trackers(config)
    tracker.setup()
    return tracker


def runs_in(store, experiment="pretended"):
    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    return client, {run.info.run_name: run for run in runs}


def test_mlflow_holds_a_run_a_segment_with_its_hyperparameters_and_figures(store):
    tracker = tracked(store, tags={"team": "locomotion"})
    trial = Trial(segment(3).to_dict())
    tracker.log_trial_start(trial)
    tracker.log_trial_result(1, trial, result(3, 100))
    # A single member's snapshot is JSON.
    done = result(3, 200, done=True, snapshot=json.dumps(snapshot(44.0)))
    tracker.log_trial_result(2, trial, done)
    tracker.log_trial_end(trial)
    client, runs = runs_in(store)
    run = runs["m03-s002"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["team"] == "locomotion"
    assert run.data.params == {
        "member": "3", "segment": "2", "parent": "m00-s001-i0007",
        "pruning/final_sparsity": "0.9", "training/lr": "0.001",
    }  # fmt: skip
    assert run.data.metrics["evaluation/return_mean"] == 44.0
    assert "env_runners/episode_return_mean" not in run.data.metrics
    history = client.get_metric_history(run.info.run_id, "pruning/sparsity")
    assert [(m.step, m.value) for m in history] == [(100, 0.1), (200, 0.2)]


def test_members_of_a_pack_are_runs_of_their_own(store):
    tracker = tracked(store, experiment_name="packs")
    trial = Trial(config_of([segment(0), segment(1)]))
    tracker.log_trial_start(trial)
    first = [result(0, 100, done=True, snapshot=snapshot(1.0)), result(1, 100)]
    tracker.log_trial_result(1, trial, {"members": json.dumps(first)})
    tracker.log_trial_result(2, trial, {"members": json.dumps([result(1, 200)])})
    tracker.log_trial_end(trial, failed=True)
    _, runs = runs_in(store, "packs")
    assert {name: run.info.status for name, run in runs.items()} == {
        "m00-s002": "FINISHED", "m01-s002": "FAILED",
    }  # fmt: skip
    assert runs["m00-s002"].data.metrics["evaluation/return_mean"] == 1.0
    assert runs["m01-s002"].data.metrics["env_steps"] == 200


def test_without_the_extra_the_mend_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(ConfigError, match=rf"pip install 'prunefront\[{name}\]'"):
            refuse_missing(coordinated(trackers={name: {}}))
    refuse_missing(coordinated())


def test_settings_that_a_tracker_does_not_know_are_refused(store):
    with pytest.raises(
        ConfigError, match=r"unknown key 'traking_uri'\. Did you mean 'tracking_uri'"
    ):
        refuse_missing(coordinated(trackers={"mlflow": {"traking_uri": store}}))


def test_a_tracker_that_cannot_be_reached_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"trackers.mlflow: .* leave it out"):
        tracked("nonsense://" + str(tmp_path))
