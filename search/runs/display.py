"""How a search shows a person how far it is: a live line on a terminal, sparse lines in a log."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.population.progress import Progress

# Seconds between lines where nobody watches.
LOG_INTERVAL = 10.0


class SearchDisplay:
    """Shows phases and progress on the standard error stream.

    Args:
        console: Where to; None: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True)
            if self._console.is_terminal
            else None
        )
        self._started = time.monotonic()
        self._phase_started = self._started
        self._last_line = -math.inf

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, title: str) -> None:
        """A new part of the work begins."""
        self._phase_started = time.monotonic()
        self._last_line = -math.inf
        self._line(title)
        if self._live is not None:
            self._live.update(Text(""))

    def note(self, text: str) -> None:
        """What a person should know beside all that; may be called from any thread."""
        self._line(f"  {text}")

    def searching(self, progress: Progress) -> None:
        """Members train."""
        elapsed = time.monotonic() - self._phase_started
        self._show(describe(progress, elapsed), progress.over)

    def training_baselines(self, done: int, total: int) -> None:
        """Baselines train."""
        self._show(f"  {done}/{total} baselines trained", done == total)

    def evaluating(self, done: int, total: int) -> None:
        """Policies are evaluated again."""
        self._show(f"  {done}/{total} policies evaluated", done == total)

    def _show(self, text: str, last: bool) -> None:
        if self._live is not None:
            self._live.update(Text(text))
        elif last or time.monotonic() - self._last_line >= LOG_INTERVAL:
            self._last_line = time.monotonic()
            self._line(text)

    def _line(self, text: str) -> None:
        seconds = int(time.monotonic() - self._started)
        self._console.print(
            f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}", markup=False, soft_wrap=True
        )
        self._console.file.flush()


def describe(progress: Progress, elapsed: float) -> str:
    """One line on how far a search is.

    Args:
        progress: How far it is.
        elapsed: Seconds since members began to train, in this process.
    """
    steps, left = f"  {progress.env_steps:,} env steps", progress.seconds_left
    if progress.budget is not None:
        share = min(1.0, progress.env_steps / progress.budget)
        steps = f"  {share:4.0%} · {progress.env_steps:,} of {progress.budget:,} env steps"
        here = share - progress.before / progress.budget
        if here > 0.02:
            left = min(left, elapsed * (1.0 - share) / here)
    parts = [
        steps,
        f"{progress.running} of {progress.members} members in training",
        f"best return {_number(progress.best_return)}",
        f"sparsest good {_sparsity(progress.sparsest_good)}",
    ]
    if math.isfinite(left):
        parts.append(f"{_duration(max(0.0, left))} left")
    if progress.failures:
        parts.append(f"{progress.failures} failed")
    return " · ".join(parts)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _sparsity(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
