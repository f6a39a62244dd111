"""How sparsity, or the threshold, rises over training: frozen values, progress in, target out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

Shape = Callable[[float], float]


def linear(p: float) -> float:
    """The same rise at all times."""
    return p


def cubic(p: float) -> float:
    """1 − (1 − p)³: fast while there is most to remove (Zhu & Gupta 2017, arXiv 1710.01878)."""
    return 1.0 - (1.0 - p) ** 3


# Share of the rise that is done at share p of the time; each maps [0, 1] onto [0, 1] and never falls.
SHAPES: dict[str, Shape] = {"linear": linear, "cubic": cubic}


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A value that rises once over training.

    Attributes:
        schedule: "one_shot", or a name in `SHAPES`.
        begin: Progress at which the rise starts, in [0, 1].
        end: Progress at which it is complete, in [`begin`, 1].
        final: The value it rises to.
        start: The value it rises from.
        anchor: Progress at which `start` held, where a lineage changes its schedule on the way; the
            rise then starts no earlier. None: it was so from the beginning.
    """

    schedule: str
    begin: float
    end: float
    final: float
    start: float = 0.0
    anchor: float | None = None

    def at(self, progress: float) -> float:
        """The value at a share of the horizon.

        Args:
            progress: Env steps done ÷ horizon, ≥ 0.

        Returns:
            A value in [`start`, max(`start`, `final`)] that never falls as progress rises. A ramp that
            is anchored at or after its end holds `start`: only "one_shot" may jump.
        """
        final = max(self.start, self.final)
        begin = self.begin if self.anchor is None else max(self.begin, self.anchor)
        if progress < begin:
            return self.start
        if self.schedule == "one_shot":
            return final
        if self.anchor is not None and self.anchor >= self.end:
            return self.start
        if progress >= self.end:
            return final
        p = (progress - begin) / (self.end - begin)
        return self.start + (final - self.start) * SHAPES[self.schedule](p)
