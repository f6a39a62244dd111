"""Shows a run in a log: one line per phase, and occasional lines on its progress."""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import TextIO

from typing_extensions import override

from search.population.progress import Progress
from search.runs.display.pace import Pace
from search.runs.display.quiet import QuietDisplay

# Minimum seconds between two lines on progress.
LOG_INTERVAL = 10.0
FIRST = "  waiting for the first result: processes start, then train an iteration"


class LineDisplay(QuietDisplay):
    """A display that writes phases and progress as lines.

    Args:
        stream: Stream to write to; None for standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._pace = Pace()
        self._last_line = -math.inf

    @override
    def phase(self, title: str) -> None:
        """Writes the title of a new phase."""
        self._pace = Pace()
        self._last_line = -math.inf
        self._line(title)

    @override
    def note(self, text: str) -> None:
        """Writes a message to the user; may be called from any thread."""
        self._line(f"  {text}")

    @override
    def searching(self, progress: Progress) -> None:
        """Writes the progress of members' training."""
        now = time.monotonic()
        self._pace.add(now, progress)
        self._show(describe(progress, self._pace.left(now, progress)), progress.over)

    @override
    def training_baselines(self, done: int, total: int) -> None:
        """Writes how many baselines are trained."""
        self._show(f"  {done}/{total} baselines trained", done == total)

    @override
    def evaluating(self, done: int, total: int) -> None:
        """Writes how many policies are evaluated on fresh seeds."""
        self._show(f"  {done}/{total} policies evaluated", done == total)

    def _show(self, text: str, last: bool) -> None:
        if last or time.monotonic() - self._last_line >= LOG_INTERVAL:
            self._last_line = time.monotonic()
            self._line(text)

    def _line(self, text: str) -> None:
        stream = self._stream or sys.stderr
        with self._lock:
            stream.write(f"{stamp(time.monotonic() - self._started)} {text}\n")
            stream.flush()


def stamp(seconds: float) -> str:
    """Formats the time since a run began for the start of a line: "[01:05]"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"[{minutes:02d}:{rest:02d}]"


def describe(progress: Progress, left: float) -> str:
    """Returns one line on the progress of a search.

    Args:
        progress: Current progress of the search.
        left: Seconds until the budget is spent; infinite if unknown.
    """
    if not progress.heard_of:
        return FIRST
    steps = f"  {progress.env_steps:,} env steps"
    if progress.budget is not None:
        steps = f"  {progress.share:4.0%} · {progress.env_steps:,} of {progress.budget:,} env steps"
    parts = [
        steps,
        f"{progress.running} of {progress.members} members in training",
        f"best return {plain_number(progress.best_return)}",
        f"sparsest good {plain_share(progress.sparsest_good)}",
    ]
    if math.isfinite(left):
        parts.append(f"{duration(left)} left")
    if progress.failures:
        parts.append(f"{progress.failures} failed")
    return " · ".join(parts)


def plain_number(value: float) -> str:
    """Formats a number with four significant digits; "–" if unknown."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def plain_share(value: float) -> str:
    """Formats a sparsity in per cent; "–" if unknown."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """Formats a duration in minutes and seconds, or in hours and minutes."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
