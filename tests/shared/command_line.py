"""The command line in processes of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs" / "smoke.yaml"
# What comes after the candidates' evaluation, left out.
NOTHING_MORE = (
    "baselines={random_masks: 0, small_dense: 0, train_then_prune: 0}",
    "evaluation.shifts=[]",
)


def environment(*first):
    paths = [*map(str, first), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def prunefront(*arguments, cwd, path=()):
    """Runs the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "search", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=420,
        cwd=cwd,
        env=environment(*path),
        check=False,
    )


def assert_refused(run, *expected):
    """Exit status 2, one message, nothing else."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert run.stderr.count("error:") == 1, run.stderr
    assert run.stderr.startswith("error: "), run.stderr
    for text in expected:
        assert text in run.stderr


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def descendants(pid):
    """Processes below one, by id."""
    found, parents = [], {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = dict(
                line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
            )
            parents[int(lines["Pid"])] = int(lines["PPid"])
    front = [pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in state


def wait_until(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
