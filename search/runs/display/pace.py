"""Estimates how fast members train, and how much longer they will take."""

from __future__ import annotations

import math

from search.population.progress import Progress

# Seconds after the first result before a speed is meaningful.
_SOON = 2.0


class Pace:
    """The training speed since this process's first result, which excludes the time for starting up."""

    def __init__(self) -> None:
        self._first = self._last = (math.nan, 0)

    def add(self, now: float, progress: Progress) -> None:
        """Takes a result into account.

        Args:
            now: Time of the result, in seconds of any fixed clock.
            progress: Progress of the search at that time.
        """
        if progress.env_steps <= progress.before:
            return
        self._last = now, progress.env_steps
        if math.isnan(self._first[0]):
            self._first = self._last

    @property
    def speed(self) -> float:
        """Env steps per second of all members; NaN if it isn't known yet."""
        seconds = self._last[0] - self._first[0]
        return (self._last[1] - self._first[1]) / seconds if seconds >= _SOON else math.nan

    def left(self, now: float, progress: Progress) -> float:
        """Returns the seconds until the budget is spent; infinite if unknown.

        Args:
            now: Current time, in seconds of the same clock as in `add`.
            progress: Current progress of the search.
        """
        left = progress.seconds_left
        if progress.budget is not None and self.speed > 0.0:
            missing = max(0, progress.budget - progress.env_steps) / self.speed
            left = min(left, missing - (now - self._last[0]))
        return max(0.0, left)
