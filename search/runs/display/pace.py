"""How fast members train, and how long they will yet."""

from __future__ import annotations

import math

from search.population.progress import Progress

# Seconds after the first result from which on a speed says something.
_SOON = 2.0


class Pace:
    """Env steps a second since the first result of this process: what starts before takes no part."""

    def __init__(self) -> None:
        self._first = self._last = (math.nan, 0)

    def add(self, now: float, progress: Progress) -> None:
        """Takes a result into account.

        Args:
            now: Seconds since some moment.
            progress: How far the search is by then.
        """
        if progress.env_steps <= progress.before:
            return
        self._last = now, progress.env_steps
        if math.isnan(self._first[0]):
            self._first = self._last

    @property
    def speed(self) -> float:
        """Env steps a second, of all members; NaN where it isn't known yet."""
        seconds = self._last[0] - self._first[0]
        return (self._last[1] - self._first[1]) / seconds if seconds >= _SOON else math.nan

    def left(self, now: float, progress: Progress) -> float:
        """Seconds until the budget is spent; infinite where nobody knows.

        Args:
            now: Seconds since the same moment.
            progress: How far the search is.
        """
        left = progress.seconds_left
        if progress.budget is not None and self.speed > 0.0:
            missing = max(0, progress.budget - progress.env_steps) / self.speed
            left = min(left, missing - (now - self._last[0]))
        return max(0.0, left)
