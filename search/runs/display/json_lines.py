"""Reports a run to scripts, with one JSON object per event, each on a line.

Every object has `event`, `time` (UTC, ISO 8601) and `elapsed` (seconds since the command began);
`EVENTS` lists its other fields. An unknown number is null.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from typing_extensions import override

from search.population.progress import Progress
from search.runs.display.pace import Pace
from search.runs.display.quiet import QuietDisplay

# Fields of each event, and their meanings.
EVENTS: Mapping[str, Mapping[str, str]] = {
    "phase": {"title": "what is done from now on, for a person"},
    "note": {"text": "what a person should know: what is waited for, which node is avoided"},
    "progress": {
        "env_steps": "training env steps of all members",
        "budget": "how many they may do; null where only time limits them",
        "share": "how much of the budget is spent, in [0, 1]",
        "seconds_left": "of the training of members, estimated; null where nobody knows",
        "running": "segments in training, the dense baseline's too",
        "dense": "whether the dense baseline is in training",
        "members": "members in all",
        "waiting": "members between two segments",
        "unborn": "members that have not begun",
        "given_up": "members that failed too often",
        "failures": "segments that failed",
        "snapshots": "policies evaluated so far",
        "best_return": "highest search score",
        "sparsest_good": "highest sparsity that loses at most 5 % of best minus random",
        "hypervolume": "of the front so far over retained and sparsity",
        "front": "policies so far, the densest first: return_mean, sparsity, weights, retained",
    },
    "baselines": {"done": "baselines trained", "total": "of how many"},
    "evaluated": {"done": "policies evaluated on fresh seeds", "total": "of how many"},
    "submitted": {
        "job": "its id",
        "address": "the job server's",
        "results": "the results folder on the cluster",
    },
    "log": {"text": "a line of the job's output that is no event"},
    "finished": {
        "folder": "the results folder",
        "report": "the page",
        "verdict": "the report in one line",
        "take": "what to type to take the pick out of Ray; empty where there is none",
        "front": "the confirmed front, the densest first: a row of front.csv each",
    },
    "pruned": {
        "folder": "the results folder",
        "report": "the page",
        "verdict": "the report in one line",
        "levels": "the checkpoint pruned at each level, the densest first: rows as of front.csv",
    },
    "retrained": {
        "folder": "the results folder",
        "report": "the page",
        "recipes": "the recipe check: rows of retrain.csv",
    },
    "shifted": {
        "folder": "the results folder",
        "report": "the page",
        "shift": "what is different, by its name in the tables",
        "policies": "under it: rows of shift.csv",
    },
    "scored": {
        "policy": "its folder",
        "shift": "what is different",
        "figures": "return, interval and what is retained: as in a row of shift.csv",
        "against": "what retained is measured on",
    },
    "interrupted": {"message": "what is safe, and how to go on"},
    "failed": {"message": "what is wrong, or what failed", "status": "the exit status"},
}
# Minimum seconds between two "progress" events.
_INTERVAL = 1.0


class JsonDisplay(QuietDisplay):
    """A display that writes events as JSON lines.

    Args:
        stream: Stream to write to; None for standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._started, self._pace = time.monotonic(), Pace()
        self._last = -math.inf

    def emit(self, event: str, **fields: Any) -> None:
        """Writes an event of `EVENTS`."""
        known = {
            "event": event,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "elapsed": round(time.monotonic() - self._started, 3),
            **fields,
        }
        line = json.dumps(_plain(known), ensure_ascii=False, allow_nan=False)
        stream = self._stream or sys.stdout
        with self._lock:
            stream.write(f"{line}\n")
            stream.flush()

    def pass_on(self, line: str) -> None:
        """Writes another process's event unchanged, and any other line that isn't empty as "log"."""
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        event = found.get("event") if isinstance(found, dict) else None
        if isinstance(event, str) and event in EVENTS:
            with self._lock:
                (self._stream or sys.stdout).write(f"{line.strip()}\n")
                (self._stream or sys.stdout).flush()
        elif line.strip():
            self.emit("log", text=line.rstrip())

    @override
    def phase(self, title: str) -> None:
        """Writes the event of a new phase."""
        self._pace, self._last = Pace(), -math.inf
        self.emit("phase", title=title)

    @override
    def note(self, text: str) -> None:
        """Writes the event of a message to the user; may be called from any thread."""
        self.emit("note", text=text)

    @override
    def searching(self, progress: Progress) -> None:
        """Writes the progress of members' training, at limited intervals."""
        now = time.monotonic()
        self._pace.add(now, progress)
        if now - self._last < _INTERVAL and not progress.over:
            return
        self._last = now
        self.emit(
            "progress",
            env_steps=progress.env_steps,
            budget=progress.budget,
            share=progress.share,
            seconds_left=self._pace.left(now, progress),
            running=progress.running,
            dense=progress.dense,
            members=progress.members,
            waiting=progress.waiting,
            unborn=progress.unborn,
            given_up=progress.given_up,
            failures=progress.failures,
            snapshots=progress.snapshots,
            best_return=progress.best_return,
            sparsest_good=progress.sparsest_good,
            hypervolume=progress.hypervolume,
            front=[dataclasses.asdict(point) for point in progress.front],
        )

    @override
    def training_baselines(self, done: int, total: int) -> None:
        """Writes how many baselines are trained."""
        self.emit("baselines", done=done, total=total)

    @override
    def evaluating(self, done: int, total: int) -> None:
        """Writes how many policies are evaluated on fresh seeds."""
        self.emit("evaluated", done=done, total=total)


def _plain(value: Any) -> Any:
    """Converts a value for JSON; NaN and infinite numbers become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    # NumPy's scalars have `item`.
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
