"""Real searches as they are watched: by a person at a terminal, and by a script."""

import json
import sys

import pytest
from command_line import BRIEF, SMOKE, environment, prunefront, rows
from pty_screen import Screen

from search.runs.display.json_lines import EVENTS

pytestmark = pytest.mark.e2e


def test_a_search_is_watched_on_a_terminal_of_80_columns(tmp_path):
    words = ["search", SMOKE, *BRIEF, "--output", tmp_path / "out"]
    screen = Screen(
        [sys.executable, "-m", "prunefront", *map(str, words)], 80, 24,
        env={**environment(), "TERM": "xterm-256color"}, cwd=tmp_path,
    )  # fmt: skip
    try:
        screen.wait_for("loading Ray and PyTorch", 120)
        screen.wait_for("starting Ray on this machine", 120)
        screen.wait_for("waiting for the first result", 240)
        screen.wait_for("search scores", 240)
        assert "so far       best return" in screen.text
        assert screen.text.count("env steps  ") == 1
        assert "members      " in screen.text
        assert screen.ended(240) == 0, screen.text
        assert not screen.pyte.cursor.hidden
        assert "so far       best return" not in screen.text
        # Longer than the terminal is wide.
        assert "".join(screen.lines[-3:]).endswith(f"report: {tmp_path / 'out' / 'report.html'}")
        assert "Traceback" not in screen.raw
    finally:
        screen.close()


def test_a_script_hears_of_a_search_from_its_events_alone(tmp_path):
    folder = tmp_path / "out"
    run = prunefront("search", SMOKE, *BRIEF, "--json", "--output", folder, cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert all(set(e) == {"event", "time", "elapsed", *EVENTS[e["event"]]} for e in told)
    assert [e["elapsed"] for e in told] == sorted(e["elapsed"] for e in told)
    titles = [e["title"] for e in told if e["event"] == "phase"]
    assert titles[:2] == ["loading Ray and PyTorch", "starting Ray on this machine"]
    steps = [e["env_steps"] for e in told if e["event"] == "progress"]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1] >= 4_000) == (0, True)
    last = [e for e in told if e["event"] == "progress"][-1]
    assert (last["members"], last["failures"]) == (2, 0)
    best = max(s["return_mean"] for s in rows(folder, "snapshots.jsonl"))
    assert last["best_return"] == pytest.approx(best)
    assert told[-1]["event"] == "finished"
    assert told[-1]["report"] == str(folder / "report.html")
