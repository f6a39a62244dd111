"""Searches on a cluster of several nodes: what joins late, goes, or doesn't see the results folder."""

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
from command_line import NOTHING_MORE, SMOKE, environment, rows, wait_until
from ray_nodes import ray_nodes

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SHORT = ("engine=packed", "resources.members_per_pack=1", *NOTHING_MORE)


@contextlib.contextmanager
def searching(nodes, folder, *overrides):
    """A search on a cluster, as a process; what it says is in the file "messages" beside the folder."""
    with (folder.parent / "messages").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "search", "search", str(SMOKE), *overrides,
             "--address", nodes.address, "--output", str(folder)],
            stdout=told, stderr=told, cwd=folder.parent, env=nodes.environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def messages(folder):
    return (folder.parent / "messages").read_text()


def until(process, folder, condition, seconds=300):
    wait_until(lambda: process.poll() is not None or condition(), seconds)
    assert process.poll() is None, messages(folder)


def lines(folder, name):
    return rows(folder, name) if (folder / name).is_file() else []


def trials_by_node(folder):
    """How many trials each node has trained: one that was killed before its first result has no line."""
    found = Counter()
    for file in folder.glob("tune/*/result.json"):
        results = file.read_text().splitlines()
        if results:
            found[json.loads(results[-1])["node_ip"]] += 1
    return found


def test_a_node_that_does_not_see_the_folder_is_named_and_avoided(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with ray_nodes() as nodes:
        nodes.add("127.0.0.3", 1)
        more = ("budget.env_steps=200_000", "population.segments=8")
        with searching(nodes, folder, *SHORT, *more) as search:
            until(search, folder, lambda: len(lines(folder, "snapshots.jsonl")) >= 2)
            nodes.add("127.0.0.4", 1, without=folder)
            nodes.kill("127.0.0.3")
            until(search, folder, lambda: "node 127.0.0.4 doesn't see" in messages(folder))
            # Nowhere to train; the only node that fits has gone.
            until(search, folder, lambda: "waiting for room for a pack" in messages(folder))
            nodes.add("127.0.0.5", 1)
            assert search.wait(900) == 0, messages(folder)
    told = messages(folder)
    assert "127.0.0.4 can't be used" in told
    assert "better than random" not in told
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["failures"]) == ("finished", [])
    assert len(pd.read_csv(folder / "front.csv")) >= 1
    reasons = [e["error"] for e in rows(folder, "events.jsonl") if e["event"] == "retry"]
    assert any("is not seen by node 127.0.0.4" in reason for reason in reasons)
    assert set(trials_by_node(folder)) == {"127.0.0.3", "127.0.0.5"}


def test_slots_are_counted_by_node_and_all_nodes_do_their_share(tmp_path):
    folder = tmp_path / "out"
    with ray_nodes() as nodes:
        nodes.add("127.0.0.3", 3)
        nodes.add("127.0.0.4", 3)
        more = ("resources.cpus_per_member=2", "budget.env_steps=64_000", "population.segments=12")
        with searching(nodes, folder, *SHORT, *more) as search:
            assert search.wait(900) == 0, messages(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["hardware"]["cpus"] == 6
    assert manifest["slots"] == 2
    trained = trials_by_node(folder)
    assert trained.total() >= 40
    assert set(trained) == {"127.0.0.3", "127.0.0.4"}
    assert min(trained.values()) >= trained.total() / 5, trained


def trainers(pid):
    """Processes that train, or are about to, below one."""
    from command_line import descendants

    found = set()
    for child in descendants(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline") as line:
            if "Trainable" in line.read():
                found.add(child)
    return found


def test_the_dense_baseline_outlives_all_the_processes_that_are_taken_from_it(tmp_path):
    folder = tmp_path / "out"
    with (tmp_path / "messages").open("w") as told:
        search = subprocess.Popen(
            [sys.executable, "-m", "search", "search", str(SMOKE), *SHORT, "resources.slots=1",
             "--output", str(folder)],
            stdout=told, stderr=told, cwd=tmp_path, env=environment(), start_new_session=True,
        )  # fmt: skip
    killed = set()
    try:
        for _ in range(4):
            until(search, folder, lambda: trainers(search.pid) - killed)
            for pid in trainers(search.pid) - killed:
                killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        assert search.wait(900) == 0, messages(folder)
    finally:
        search.kill()
        search.wait()
    events = rows(folder, "events.jsonl")
    retries = [e for e in events if e["event"] == "retry" and e["member"] == -1]
    assert len(retries) >= 3
    assert not [e for e in events if e["event"] == "failure"]
