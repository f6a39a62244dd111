"""Provides the record of a run's state that a live view shows."""

from __future__ import annotations

import dataclasses
import math

from search.population.progress import Progress

# Maximum number of hypervolumes that are kept; beyond it, every other one is dropped.
MOST_KEPT = 128


@dataclasses.dataclass(frozen=True)
class Seen:
    """The state of a run that a live view shows.

    Attributes:
        title: Title of the current phase.
        elapsed: Seconds since the run began in this process.
        in_phase: Seconds since the current phase began.
        progress: Progress of the search; None if members aren't being trained.
        done: Numbers of finished parts and of all parts of a phase; None if it has no parts.
        parts: Name of the finished parts, such as "policies evaluated".
        curve: Hypervolumes so far, at equal distances in env steps.
        speed: Env steps per second of all members; NaN if unknown.
        training_left: Seconds until the budget is spent; infinite if unknown.
        found: Progress of the search at the end of its members' training, shown in later phases.
    """

    title: str = ""
    elapsed: float = 0.0
    in_phase: float = 0.0
    progress: Progress | None = None
    done: tuple[int, int] | None = None
    parts: str = ""
    curve: tuple[float, ...] = ()
    speed: float = math.nan
    training_left: float = math.inf
    found: Progress | None = None

    @property
    def share(self) -> float | None:
        """Finished share of the phase, in [0, 1]; None if unknown."""
        if self.done is not None:
            return self.done[0] / self.done[1] if self.done[1] else 1.0
        if self.progress is None or not self.progress.heard_of:
            return None
        if self.progress.budget is not None:
            return self.progress.share
        left = self.progress.seconds_left
        return self.in_phase / (self.in_phase + max(0.0, left)) if math.isfinite(left) else None

    @property
    def left(self) -> float:
        """Seconds until the phase is over; infinite if unknown."""
        if self.done is not None:
            share = self.done[0] / self.done[1] if self.done[1] else 1.0
            return self.in_phase * (1.0 - share) / share if share else math.inf
        return self.training_left


class Curve:
    """A curve of a limited number of hypervolumes, at equal distances in env steps."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._step, self._next = 0.0, 0.0

    @property
    def values(self) -> tuple[float, ...]:
        """The hypervolumes that are kept, the oldest first."""
        return tuple(self._kept)

    def add(self, env_steps: int, value: float) -> None:
        """Adds a hypervolume, unless it follows the previous one too soon or is unknown.

        Args:
            env_steps: Env steps of all members until then.
            value: The hypervolume; NaN if unknown.
        """
        if not math.isfinite(value) or (self._kept and env_steps < self._next):
            return
        self._kept.append(value)
        if len(self._kept) > MOST_KEPT:
            self._kept = self._kept[1::2]
            self._step = max(1.0, 2.0 * self._step, env_steps / MOST_KEPT)
        self._next = env_steps + self._step
