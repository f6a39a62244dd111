"""A run a member in TensorBoard, W&B and MLflow over the lineage's clock, whoever trained it."""

import json
import threading
import time

import pytest
from mlflow import MlflowClient
from pretended_search import coordinated
from tracker_files import events_in, wandb_run_in

from rllib_ext.member.segment import DENSE, Segment, config_of
from rllib_ext.pruning.errors import ConfigError
from search.store.folder import update_manifest
from search.training.beside import Beside
from search.training.member_runs import MemberRuns
from search.training.trackers import TENSORBOARD, Tracker, refuse_missing, trackers


def segment(member, number=2, lr=1e-3, parent="m00-s001-i0007"):
    return Segment(
        member=member, segment=number, trial_number=1, seed=5,
        pruning={"final_sparsity": 0.9, "criterion": "magnitude", "threshold": None},
        training={"lr": lr}, until_env_steps=200, evaluation_seeds=(1, 2), parent=parent,
    )  # fmt: skip


def result(member, env_steps, done=False, number=2, **more):
    return {
        "member": member, "segment": number, "iteration": env_steps // 100, "env_steps": env_steps,
        "segment_done": done, "pruning": {"sparsity": env_steps / 1_000, "event": "pruned"},
        "learners": {"total_loss": 2.5, "diff_num_grad_updates_vs_sampler_policy": True},
        "env_runners": {"episode_return_mean": float("nan")}, "failure": "", "pid": 7, **more,
    }  # fmt: skip


def snapshot(mean):
    return {
        "return_mean": mean, "return_std": 1.0, "sparsity": 0.5, "critic_sparsity": 0.0,
        "nonzero_params": 7, "seeds": [1, 2], "checkpoint": "policies/x",
    }  # fmt: skip


class Trial:
    """What a tracker reads of one of Tune's trials."""

    def __init__(self, config, trial_id="abc_00001"):
        self.trial_id, self.config = trial_id, config


@pytest.fixture
def told():
    return []


@pytest.fixture
def tracked(tmp_path, told):
    """The tracker of a search: `tracked(mlflow={…}) -> Tracker`."""
    made = []

    def track(**asked):
        asked = {"tensorboard": False, **asked}
        (tmp_path / "results").mkdir(exist_ok=True)
        update_manifest(tmp_path / "results", started="2026-01-02T03:04:05+00:00")
        found = trackers(coordinated(trackers=asked), tmp_path / "results", told.append)
        made.extend(found)
        return found[0]

    yield track
    for tracker in made:
        tracker.close()


def train(tracker):
    """A pack trains two members, then one of them goes on by itself, from a donor behind it."""
    pack = Trial(config_of([segment(0), segment(1, lr=2e-3)]))
    tracker.log_trial_start(pack)
    first = [result(0, 100, done=True, snapshot=snapshot(1.0)), result(1, 100)]
    tracker.log_trial_result(1, pack, {"members": json.dumps(first)})
    tracker.log_trial_result(2, pack, {"members": json.dumps([result(1, 200, done=True)])})
    tracker.log_trial_end(pack)
    alone = Trial(segment(1, 3, lr=5e-3, parent="m00-s002-i0001").to_dict(), "abc_00002")
    tracker.log_trial_start(alone)
    # A single member's snapshot is JSON.
    copied = result(1, 150, number=3, snapshot=json.dumps(snapshot(44.0)))
    tracker.log_trial_result(1, alone, copied)
    tracker.log_trial_end(alone)


LR = "hyperparameters/training/lr"
SPARSITIES = [(100, 0.1), (200, 0.2), (150, 0.15)]
RATES = [(100, 2e-3), (150, 5e-3)]
LABELS = {"hyperparameters/pruning/criterion": "magnitude", "parent": "m00-s002-i0001"}
# What every tracker shows of a member that was evaluated.
FIGURES = {
    "segment", "pruning/sparsity", "learners/total_loss", LR,
    "hyperparameters/pruning/final_sparsity", "evaluation/return_mean", "evaluation/return_std",
    "evaluation/sparsity", "evaluation/critic_sparsity", "evaluation/nonzero_params",
}  # fmt: skip


def test_tensorboard_s_files_hold_a_run_a_member(tracked, tmp_path):
    tracker = tracked(tensorboard=True)
    train(tracker)
    tracker.close()
    folder = tmp_path / "results" / TENSORBOARD
    assert sorted(path.name for path in folder.iterdir()) == ["m00", "m01"]
    events = events_in(folder / "m01")
    shown = [(step, round(figures["pruning/sparsity"], 6)) for step, figures, _ in events]
    assert shown == SPARSITIES
    rates = [(step, pytest.approx(f[LR])) for step, f, _ in events if LR in f]
    assert rates == RATES
    texts = {
        tag.removesuffix("/text_summary"): text for _, _, t in events for tag, text in t.items()
    }
    assert texts == LABELS
    ((_, figures, _),) = events_in(folder / "m00")
    assert set(figures) == FIGURES


def test_mlflow_holds_the_same(tracked, tmp_path):
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = tracked(mlflow={"tracking_uri": store, "tags": {"team": "locomotion"}})
    train(tracker)
    tracker.close()
    client, runs = runs_in(store)
    assert sorted(runs) == ["m00", "m01"]
    run = runs["m01"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["team"] == "locomotion"
    assert LABELS.items() <= run.data.tags.items()
    for name, values in (("pruning/sparsity", SPARSITIES), (LR, RATES)):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((m.step, m.value) for m in history) == sorted(values)
    assert run.data.metrics["evaluation/return_mean"] == 44.0
    assert set(runs["m00"].data.metrics) == FIGURES


def runs_in(store, experiment="pretended"):
    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    return client, {run.info.run_name: run for run in runs}


def written_by_wandb(file):
    """A process of W&B's own writes, and may still do so when a run is finished."""
    for _ in range(100):
        found = wandb_run_in(file)
        if found["history"]:
            break
        time.sleep(0.1)
    return found


def test_wandb_holds_the_same(tracked, tmp_path, told):
    pytest.importorskip("wandb")
    tracker = tracked(wandb={"mode": "offline"})
    train(tracker)
    tracker.close()
    assert told == []
    files = {f.stem[-3:]: f for f in (tmp_path / "results" / "wandb").glob("offline-*/*.wandb")}
    assert sorted(files) == ["m00", "m01"]
    run = written_by_wandb(files["m01"])
    assert (run["name"], run["project"]) == ("m01", "pretended")
    assert run["id"] == f"{run['group']}-m01"
    assert LABELS.items() <= run["config"].items()
    # Whatever W&B counts by itself, the lineage's clock is what it draws over.
    assert run["metrics"]["*"] == "env_steps"
    assert [(h["env_steps"], h["pruning/sparsity"]) for h in run["history"]] == SPARSITIES
    assert [(h["env_steps"], h[LR]) for h in run["history"] if LR in h] == RATES
    (row,) = written_by_wandb(files["m00"])["history"]
    assert {name for name in row if not name.startswith("_")} == {*FIGURES, "env_steps"}


def test_a_search_that_goes_on_goes_on_in_the_same_runs_and_another_has_its_own(tracked, tmp_path):
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for number in (2, 3):
        tracker = tracked(mlflow={"tracking_uri": store}, tensorboard=True)
        trial = Trial(segment(0, number).to_dict())
        tracker.log_trial_start(trial)
        tracker.log_trial_result(1, trial, result(0, 100 * number, number=number))
        tracker.close()
    client, runs = runs_in(store)
    history = client.get_metric_history(runs["m00"].info.run_id, "pruning/sparsity")
    assert sorted(m.step for m in history) == [200, 300]
    update_manifest(tmp_path / "results", started="2026-02-02T03:04:05+00:00")
    config = coordinated(trackers={"tensorboard": False, "mlflow": {"tracking_uri": store}})
    (other,) = trackers(config, tmp_path / "results", print)
    trial = Trial(segment(0).to_dict())
    other.log_trial_start(trial)
    other.log_trial_result(1, trial, result(0, 700))
    other.close()
    experiment = client.get_experiment_by_name("pretended").experiment_id
    assert [r.info.run_name for r in client.search_runs([experiment])] == ["m00", "m00"]


def test_the_dense_baseline_is_a_run_and_a_failure_a_label(tracked, tmp_path):
    tracker = tracked(tensorboard=True)
    trial = Trial(segment(DENSE, 0).to_dict())
    tracker.log_trial_start(trial)
    tracker.log_trial_result(1, trial, result(DENSE, 100, number=0, failure="its state is gone"))
    tracker.close()
    ((_, _, texts),) = events_in(tmp_path / "results" / TENSORBOARD / "dense")
    assert texts["failure/text_summary"] == "its state is gone"


class Pretended(MemberRuns):
    """A tracker that fails, or waits, when it is told to."""

    def __init__(self):
        self.seen, self.ended = [], False
        self.fails_at, self.go_on = None, threading.Event()
        self.go_on.set()

    def start(self):
        pass

    def log(self, member, figures, labels, env_steps):
        self.go_on.wait(10)
        if env_steps == self.fails_at:
            raise ConnectionError("the network is gone\nand more")
        self.seen.append(env_steps)

    def end(self):
        self.ended = True


def test_a_tracker_that_fails_is_named_once_and_the_search_goes_on(told):
    runs = Pretended()
    runs.fails_at = 200
    tracker = Tracker([Beside("mlflow", runs)], told.append)
    trial = Trial(segment(0).to_dict())
    tracker.log_trial_start(trial)
    for step in (100, 200, 300, 400):
        tracker.log_trial_result(1, trial, result(0, step))
    tracker.close()
    assert told == [
        "trackers.mlflow: ConnectionError: the network is gone. The search goes on without it."
    ]
    assert 100 in runs.seen
    assert 200 not in runs.seen


def test_a_slow_tracker_holds_nobody_up_and_leaves_out_what_it_cannot_keep(monkeypatch):
    monkeypatch.setattr("search.training.beside.WAITING", 3)
    runs = Pretended()
    runs.go_on.clear()
    beside = Beside("wandb", runs)
    for step in range(10):
        beside.log("m00", {}, {}, step)
    assert runs.seen == []
    assert beside.trouble() == [
        "trackers.wandb: it is too slow: some of what it should show is left out"
    ]
    runs.go_on.set()
    beside.end()
    assert runs.seen == [0, 1, 2]
    assert runs.ended
    assert beside.trouble() == []


def test_without_any_tracker_there_is_none(tmp_path):
    assert trackers(coordinated(trackers={"tensorboard": False}), tmp_path, print) == []


def test_without_the_extra_the_mend_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(ConfigError, match=rf"pip install 'prunefront\[{name}\]'"):
            refuse_missing(coordinated(trackers={name: {}}))
    refuse_missing(coordinated())


def test_settings_that_a_tracker_does_not_know_are_refused():
    with pytest.raises(
        ConfigError, match=r"unknown key 'traking_uri'\. Did you mean 'tracking_uri'"
    ):
        refuse_missing(coordinated(trackers={"mlflow": {"traking_uri": "x"}}))
    pytest.importorskip("wandb")
    for wrong in ({"projct": "x"}, {"id": "x"}):
        with pytest.raises(
            ConfigError, match=rf"trackers\.wandb: unknown key '{next(iter(wrong))}'"
        ):
            refuse_missing(coordinated(trackers={"wandb": wrong}))
    refuse_missing(coordinated(trackers={"wandb": {"project": "x", "entity": "y", "tags": []}}))


def test_a_tracker_that_cannot_be_reached_is_one_clear_error(tracked, tmp_path):
    with pytest.raises(ConfigError, match=r"trackers.mlflow: .* leave it out"):
        tracked(mlflow={"tracking_uri": "nonsense://" + str(tmp_path)})
