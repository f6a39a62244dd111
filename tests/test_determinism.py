"""An uninterrupted search with one slot and a step budget repeats itself, times apart."""

import hashlib
import json
import subprocess
import sys

import pytest
from command_line import NOTHING_MORE, SMOKE, environment, rows

pytestmark = pytest.mark.e2e

SMALL = (
    "budget.env_steps=14_000", "population.segments=3", "resources.slots=1",
    "evaluation.candidates=1", "evaluation.selection_episodes=2", "evaluation.report_episodes=2",
    *NOTHING_MORE,
)  # fmt: skip


def searched(place, engine, *more):
    """Two searches of one configuration, at the same time; their folders."""
    processes = {}
    for name in ("first", "second"):
        folder = place / name
        with (place / f"{name}.txt").open("w") as messages:
            processes[folder] = subprocess.Popen(
                [sys.executable, "-m", "search", "search", str(SMOKE), f"engine={engine}", *SMALL,
                 *more, "--output", str(folder)],
                stdout=messages, stderr=messages, cwd=place, env=environment(),
            )  # fmt: skip
    try:
        for folder, process in processes.items():
            assert process.wait(420) == 0, (place / f"{folder.name}.txt").read_text()
    finally:
        for process in processes.values():
            process.kill()
    return list(processes)


def digest(lines):
    return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("engine", ["rllib", "packed"])
def test_snapshots_decisions_and_evaluations_are_the_same(tmp_path, engine):
    first, second = searched(tmp_path, engine)
    made = [[{**s, "wall_time": 0.0} for s in rows(f, "snapshots.jsonl")] for f in (first, second)]
    assert len(made[0]) >= 12
    assert digest(made[0]) == digest(made[1])
    events = [rows(folder, "events.jsonl") for folder in (first, second)]
    assert digest(events[0]) == digest(events[1])
    # They are played in parallel, and come in any order.
    played = [
        sorted(rows(folder, "evaluations.jsonl"), key=lambda e: (e["snapshot_id"], e["purpose"]))
        for folder in (first, second)
    ]
    assert digest(played[0]) == digest(played[1])
    fronts = [(folder / "front.csv").read_text().splitlines() for folder in (first, second)]
    assert len(fronts[0]) == len(fronts[1]) >= 2
