"""Shows a run on a terminal: one line per phase, and below them a live view of the progress."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console

from search.population.progress import Progress
from search.runs.display.area import Area
from search.runs.display.captured import Captured
from search.runs.display.lines import stamp
from search.runs.display.pace import Pace
from search.runs.display.state import Curve, Seen
from search.runs.display.view import view

# Drawings per second.
_RATE = 4.0


class TerminalDisplay:
    """A display of phases and progress on a terminal; phases and notes remain after it ends.

    A thread draws at its own rate, so that reporting progress never waits for the terminal, and an
    interrupt can't leave a drawing half done.
    """

    def __init__(self) -> None:
        self._started = self._phase_started = time.monotonic()
        self._seen, self._curve, self._pace = Seen(title="starting"), Curve(), Pace()
        self._above: collections.deque[str] = collections.deque()
        # The line of the current phase, which is written above the view when the phase is over.
        self._left: collections.deque[str] = collections.deque()
        self._over = threading.Event()
        self._drawing: threading.Thread | None = None

    def __enter__(self) -> Self:
        captured = Captured()
        self._drawing = threading.Thread(
            target=self._draw, args=(captured,), name="live-view", daemon=True
        )
        self._drawing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave_phase()
        self._over.set()
        if self._drawing is not None:
            self._drawing.join()

    def phase(self, title: str) -> None:
        """Shows that a new phase begins."""
        self._phase_started = time.monotonic()
        self._leave_phase()
        self._left.append(self._stamped(title))
        found = self._seen.progress or self._seen.found
        self._pace = Pace()
        self._seen = Seen(title=title, curve=self._curve.values, found=found)

    def note(self, text: str) -> None:
        """Shows a message to the user; may be called from any thread."""
        self._leave_phase()
        self._above.append(self._stamped(f"  {text}"))

    def searching(self, progress: Progress) -> None:
        """Shows the progress of members' training."""
        self._pace.add(time.monotonic(), progress)
        self._curve.add(progress.env_steps, progress.hypervolume)
        self._seen = dataclasses.replace(self._seen, progress=progress, curve=self._curve.values)

    def training_baselines(self, done: int, total: int) -> None:
        """Shows how many baselines are trained."""
        self._seen = dataclasses.replace(self._seen, done=(done, total), parts="baselines trained")

    def evaluating(self, done: int, total: int) -> None:
        """Shows how many policies are evaluated on fresh seeds."""
        self._seen = dataclasses.replace(self._seen, done=(done, total), parts="policies evaluated")

    def _stamped(self, text: str) -> str:
        return f"{stamp(time.monotonic() - self._started)} {text}"

    def _leave_phase(self) -> None:
        # Another thread that calls `note` may have taken the line already.
        with contextlib.suppress(IndexError):
            self._above.append(self._left.popleft())

    def _draw(self, captured: Captured) -> None:
        """Draws until the run is over, then restores the terminal."""
        terminal, area = captured.terminal, Area(captured.terminal)
        console = Console(file=terminal, force_terminal=True, highlight=False)
        columns = 80
        try:
            # A closed terminal must not end a search.
            with contextlib.suppress(OSError):
                while not self._over.wait(1.0 / _RATE):
                    columns, lines = captured.size
                    # Terminals wrap differently at the last column, and the cursor needs a line.
                    drawn = rendered(self._now(), console, columns - 1, lines - 1)
                    area.draw(drawn, columns, [*self._taken(), *captured.take()])
        finally:
            # In any case, other output must become visible again.
            self._over.wait()
            above = [*self._taken(), *captured.close()]
            with contextlib.suppress(OSError):
                area.draw([], columns, above)
                terminal.close()

    def _taken(self) -> list[str]:
        return [self._above.popleft() for _ in range(len(self._above))]

    def _now(self) -> Seen:
        now, seen, pace = time.monotonic(), self._seen, self._pace
        return dataclasses.replace(
            seen,
            elapsed=now - self._started,
            in_phase=now - self._phase_started,
            speed=pace.speed,
            training_left=math.inf if seen.progress is None else pace.left(now, seen.progress),
        )


def rendered(seen: Seen, console: Console, columns: int, lines: int) -> list[str]:
    """Renders the view as lines with escape sequences for colours.

    Args:
        seen: State to show.
        console: Console that knows the terminal's colours.
        columns: Maximum length of a line.
        lines: Maximum number of lines.
    """
    with console.capture() as drawn:
        console.print(view(seen, columns, lines), width=columns)
    return drawn.get().splitlines()
