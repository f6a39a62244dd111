"""Tasks on a real local Ray: what dies or raises is tried again, and a folder must be seen."""

import errno
import os
import signal
from pathlib import Path

import pytest
import ray

from rllib_ext.member.seen import TOKEN, prove_seen
from rllib_ext.pruning.errors import ConfigError, RunError, UnseenFolderError
from search.cluster import shared_folder, tasks
from search.cluster.retries import RETRIES
from search.cluster.shared_folder import SharedFolder, refuse_unseen
from search.cluster.tasks import Task, run_tasks, whole

pytestmark = pytest.mark.ray


def counted(place, times, fail):
    """Fails so often, then says how often it was called."""
    marks = len(os.listdir(place))
    (Path(place) / str(marks)).touch()
    if marks < times:
        fail()
    return marks


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def raises():
    raise ValueError("of what")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def run(folder, **given):
    return dict(run_tasks(given, folder, print))


def test_each_task_gives_what_its_function_returns(tmp_path):
    found = run(tmp_path, a=Task("a", max, (1, 2)), b=Task("b", min, (1, 2)))
    assert found == {"a": 2, "b": 1}
    assert os.listdir(tmp_path) == []


def test_processes_that_are_taken_away_are_replaced(tmp_path, place):
    assert run(tmp_path, a=Task("a", counted, (place, 4, dies))) == {"a": 4}


def test_what_raises_is_tried_again_and_given_up_then(tmp_path, place):
    (found,) = run(tmp_path, a=Task("the policy", counted, (place, 99, raises))).values()
    assert len(os.listdir(place)) == RETRIES + 1
    with pytest.raises(RunError, match=r"the policy cannot be evaluated: ValueError: of what"):
        whole(found)


def disk_is_full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "policies/x.part")


def test_a_full_disk_ends_the_run_and_is_no_fault_of_the_task(tmp_path, place):
    with pytest.raises(RunError, match=r"OSError: .*No space left on device"):
        run(tmp_path, a=Task("the training of a baseline", counted, (place, 99, disk_is_full)))
    assert len(os.listdir(place)) == 1


def test_what_a_task_waits_for_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "SAY_SECONDS", 0.3)
    told = []
    slow = Task("slow", _sleeps, (1.5,))
    assert dict(run_tasks({"a": slow}, tmp_path, told.append)) == {"a": None}
    assert told[0].startswith(
        "1 tasks are running, or waiting for room for a task, which takes 1 CPU"
    )


def _sleeps(seconds):
    import time

    time.sleep(seconds)


def test_a_process_that_does_not_see_the_token_says_where_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("rllib_ext.member.seen._LATER_SECONDS", 0.1)
    prove_seen(tmp_path, "")
    with SharedFolder(tmp_path, print) as shared:
        prove_seen(tmp_path, shared.token)
        assert (tmp_path / TOKEN).read_text() == shared.token
        # As an old copy of the folder has it.
        with pytest.raises(UnseenFolderError, match=r"is not seen by node \S+ \([0-9a-f]+\), or"):
            prove_seen(tmp_path, "another")
    with pytest.raises(UnseenFolderError, match="mount it there"):
        prove_seen(tmp_path, shared.token)


def test_what_a_worker_wrote_elsewhere_is_not_taken_for_removed(tmp_path, monkeypatch):
    """All nodes write where the driver reads nothing: the last one ends the run."""
    monkeypatch.setattr(shared_folder, "_LATER_SECONDS", 0.1)
    told = []
    task = Task("a", max, (1, 2), written=lambda result: ["policies/m00"])
    with pytest.raises(RunError, match="no node of the cluster sees"):
        dict(run_tasks({"a": task}, tmp_path, told.append))
    assert len(told) == 1
    assert "doesn't see" in told[0]
    (tmp_path / "policies" / "m00").mkdir(parents=True)
    assert dict(run_tasks({"a": task}, tmp_path, told.append)) == {"a": 2}


def test_avoided_nodes_are_named_once_and_kept_out_of_every_placement(tmp_path, monkeypatch):
    nodes = [{"NodeID": "a" * 56, "Alive": True}, {"NodeID": "b" * 56, "Alive": True}]
    monkeypatch.setattr(shared_folder.ray, "nodes", lambda: nodes)
    told = []
    shared = SharedFolder(tmp_path, told.append)
    assert shared.label_selector == {}
    for _ in range(2):
        shared.avoid(f"x is not seen by node 10.0.0.7 ({'a' * 56}), or")
    assert told == [f"node 10.0.0.7 doesn't see {tmp_path}, and is avoided"]
    assert shared.avoided == ("10.0.0.7",)
    assert shared.label_selector == {"ray.io/node-id": f"!in({'a' * 56})"}
    with pytest.raises(RunError, match="no node of the cluster"):
        shared.avoid(f"node 10.0.0.8 ({'b' * 56})")


@pytest.mark.parametrize("later", [True, False])
def test_a_node_that_dies_while_nodes_are_asked_is_not_waited_for(tmp_path, monkeypatch, later):
    (here,) = ray.nodes()
    ghost = {**here, "NodeID": "a" * len(here["NodeID"]), "NodeManagerAddress": "10.9.9.9"}
    said = iter([[here, ghost], [here, {**ghost, "Alive": later}]])
    monkeypatch.setattr(ray, "nodes", lambda: next(said))
    if later:
        with pytest.raises(ConfigError, match=r"1 of 2 nodes \(10\.9\.9\.9\)"):
            refuse_unseen(tmp_path)
    else:
        refuse_unseen(tmp_path)
    assert os.listdir(tmp_path) == []
