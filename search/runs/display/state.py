"""What a live view shows, as a record."""

from __future__ import annotations

import dataclasses
import math

from search.population.progress import Progress

# So many hypervolumes are kept; where there are more, every other one goes.
MOST_KEPT = 128


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a live view shows.

    Attributes:
        title: What the run does now.
        elapsed: Seconds since it began, in this process.
        in_phase: Seconds since it does that.
        progress: How far a search is; None where it isn't members that train.
        done: How many of a phase's parts are done, and of how many; None where it has no parts.
        parts: What those are, such as "policies evaluated".
        curve: Hypervolumes so far, in equal distances of env steps.
        speed: Env steps a second of all members; NaN where it isn't known.
        training_left: Seconds until the budget is spent; infinite where nobody knows.
        found: How far the search was when its members had trained; shown while its end is prepared.
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
        """How much of the phase is done, in [0, 1]; None where nobody knows."""
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
        """Seconds until the phase is over; infinite where nobody knows."""
        if self.done is not None:
            share = self.done[0] / self.done[1] if self.done[1] else 1.0
            return self.in_phase * (1.0 - share) / share if share else math.inf
        return self.training_left


class Curve:
    """Keeps a few of many hypervolumes, in equal distances of env steps."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._step, self._next = 0.0, 0.0

    @property
    def values(self) -> tuple[float, ...]:
        """Those kept, the first one first."""
        return tuple(self._kept)

    def add(self, env_steps: int, value: float) -> None:
        """Takes a hypervolume, unless it follows too soon upon the one before or is unknown.

        Args:
            env_steps: Of all members until then.
            value: NaN where it is unknown.
        """
        if not math.isfinite(value) or (self._kept and env_steps < self._next):
            return
        self._kept.append(value)
        if len(self._kept) > MOST_KEPT:
            self._kept = self._kept[1::2]
            self._step = max(1.0, 2.0 * self._step, env_steps / MOST_KEPT)
        self._next = env_steps + self._step
