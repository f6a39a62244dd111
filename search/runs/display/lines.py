"""What a log gets of a run: a line a phase, and sparse ones on how far it is."""

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

# Seconds between lines where nobody watches.
LOG_INTERVAL = 10.0
FIRST = "  waiting for the first result: processes start, then train an iteration"


class LineDisplay(QuietDisplay):
    """Writes phases and progress as lines.

    Args:
        stream: Where to; None: standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._pace = Pace()
        self._last_line = -math.inf

    @override
    def phase(self, title: str) -> None:
        """A new part of the work begins."""
        self._pace = Pace()
        self._last_line = -math.inf
        self._line(title)

    @override
    def note(self, text: str) -> None:
        """What a person should know beside all that; may be called from any thread."""
        self._line(f"  {text}")

    @override
    def searching(self, progress: Progress) -> None:
        """Members train."""
        now = time.monotonic()
        self._pace.add(now, progress)
        self._show(describe(progress, self._pace.left(now, progress)), progress.over)

    @override
    def training_baselines(self, done: int, total: int) -> None:
        """Baselines train."""
        self._show(f"  {done}/{total} baselines trained", done == total)

    @override
    def evaluating(self, done: int, total: int) -> None:
        """Policies are evaluated again."""
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
    """Time since a run began, as lines begin with it: "[01:05]"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"[{minutes:02d}:{rest:02d}]"


def describe(progress: Progress, left: float) -> str:
    """One line on how far a search is.

    Args:
        progress: How far it is.
        left: Seconds until the budget is spent; infinite where nobody knows.
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
    """Four significant digits; "–" where unknown."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def plain_share(value: float) -> str:
    """A sparsity in per cent; "–" where unknown."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
