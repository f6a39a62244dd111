"""A search that is interrupted while it trains: what it leaves, what it says, what outlives it."""

import json
import os
import signal

import pytest
from command_line import (
    SMOKE,
    alive,
    assert_refused,
    descendants,
    in_training,
    prunefront,
    rows,
    wait_until,
)

pytestmark = pytest.mark.e2e


def running(place, file, lines):
    """A long search in training, from the moment when a file of its folder has some lines."""
    folder = place / "out"
    return in_training(folder, file, lines, "search", SMOKE, "budget.env_steps=4e6",
                       "population.segments=1000", "--output", folder)  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """An interrupted search: its folder, exit status, messages, processes; and a second writer."""
    place = tmp_path_factory.mktemp("interrupted")
    with running(place, "snapshots.jsonl", 3) as process:
        second = prunefront("search", SMOKE, "--output", place / "out", cwd=place)
        children = descendants(process.pid)
        # As a terminal does: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        status = process.wait(timeout=120)
    return place / "out", status, (place / "messages").read_text(), children, second


def test_a_job_that_is_told_to_end_does_as_one_that_is_interrupted(tmp_path):
    with running(tmp_path, "events.jsonl", 1) as process:
        process.terminate()
        status = process.wait(timeout=120)
    messages = (tmp_path / "messages").read_text()
    assert status == 130, messages
    assert "\ninterrupted: " in messages
    assert "Traceback" not in messages
    assert "***" not in messages
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["status"] == "interrupted"


def test_ctrl_c_ends_with_130_and_says_what_is_safe(interrupted):
    folder, status, messages, _, _ = interrupted
    assert status == 130
    assert "Traceback" not in messages
    last = messages[messages.index("interrupted:") :]
    assert f"snapshots are safe in {folder}" in last
    assert f"prunefront report {folder}" in last
    assert f"prunefront resume {folder}" in last


def test_an_interrupted_folder_is_readable_and_closed(interrupted):
    folder, *_ = interrupted
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert manifest["env_steps"]["training"] > 0
    snapshots = rows(folder, "snapshots.jsonl")
    assert len(snapshots) >= 3
    assert all((folder / s["checkpoint"] / "metadata.json").is_file() for s in snapshots)


def test_no_process_outlives_an_interrupted_search(interrupted):
    *_, children, _ = interrupted
    assert len(children) > 2
    wait_until(lambda: not any(map(alive, children)), 30)


def test_a_second_writer_is_refused(interrupted):
    *_, second = interrupted
    assert_refused(second, "is not empty")


def test_a_report_of_an_interrupted_search_is_made_or_says_what_is_missing(interrupted, tmp_path):
    folder, *_ = interrupted
    run = prunefront("report", folder, cwd=tmp_path)
    assert "Traceback" not in run.stderr
    if run.returncode == 0:
        assert (folder / "report.html").is_file()
    else:
        assert_refused(run, "re-evaluated", "Finish the search")
