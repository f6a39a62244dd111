"""A run's time on Ray: however it ends, the manifest says how, and Ray is let go."""

import contextlib
import errno
import time

import pytest
import ray

from rllib_ext.pruning.errors import ConfigError, RunError
from search.runs import session as sessions
from search.runs.session import connected, recorded, session
from search.store.folder import read_manifest, update_manifest
from search.store.lines import append_lines


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """What is asked of Ray, in order; and the manifest's status when it is let go."""
    told = []
    monkeypatch.setattr(sessions, "connect", lambda address, note=None: told.append(address))
    monkeypatch.setattr(sessions, "refuse_unseen", lambda folder: told.append(folder))
    monkeypatch.setattr(ray, "shutdown", lambda: told.append(read_manifest(tmp_path).get("status")))
    return told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (KeyboardInterrupt(), "interrupted"),
        (RunError("no member lives"), "failed"),
        (OSError(errno.EIO, "broken"), "failed"),
        (SystemExit(1), "failed"),
    ],
)
def test_the_manifest_says_how_it_ended_before_ray_is_let_go(cluster, tmp_path, error, status):
    raises = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with raises, session(tmp_path, "auto", print):
        if error:
            raise error
    assert cluster == ["auto", tmp_path, status]
    assert read_manifest(tmp_path)["status"] == status


@pytest.mark.parametrize("step", ["connect", "refuse_unseen"])
def test_a_run_that_finds_no_cluster_has_failed(cluster, tmp_path, monkeypatch, step):
    def refuse(*arguments):
        raise ConfigError("nobody answers")

    monkeypatch.setattr(sessions, step, refuse)
    with pytest.raises(ConfigError), session(tmp_path, None, print):
        raise AssertionError("the block ran")
    assert cluster[-1] == "failed"


def test_wall_time_adds_up_over_processes(cluster, tmp_path, monkeypatch):
    clock = iter([100.0, 130.0, 5.0, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for _ in range(2):
        with session(tmp_path, None, print):
            pass
    assert read_manifest(tmp_path)["wall_time"] == 37.0


def test_the_time_of_a_process_that_was_killed_counts(cluster, tmp_path, monkeypatch):
    """It tells the manifest nothing; its snapshots carry the clock of all processes."""
    update_manifest(tmp_path, status="running", wall_time=100.0)
    for clock in (250.0, 300.0):
        append_lines(tmp_path / "snapshots.jsonl", [{"wall_time": clock}])
    clock = iter([5.0, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with session(tmp_path, None, print):
        pass
    assert read_manifest(tmp_path)["wall_time"] == 307.0


def test_who_records_otherwise_says_what(cluster, tmp_path):
    update_manifest(tmp_path, status="finished", wall_time=9.0)
    steps = []

    def ended(status, seconds):
        return {"check": [status, sum(steps), seconds < 60]}

    def run():
        with recorded(tmp_path, ended):
            steps.append(7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    told = read_manifest(tmp_path)
    assert told == {"status": "finished", "wall_time": 9.0, "check": ["interrupted", 7, True]}


def test_a_full_disk_does_not_hide_what_ended_the_run(cluster, tmp_path, monkeypatch):
    def full(*arguments, **values):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sessions, "update_manifest", full)
    with pytest.raises(RunError, match="no member lives"), session(tmp_path, None, print):
        raise RunError("no member lives")
    assert cluster[-1] is None


def test_without_a_folder_ray_is_let_go_all_the_same(cluster):
    with pytest.raises(RunError), connected("auto"):
        raise RunError("a policy is broken")
    assert cluster == ["auto", None]
