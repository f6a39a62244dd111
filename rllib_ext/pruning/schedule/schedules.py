"""Schedules of sparsity or threshold over training: frozen values, progress in, target out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

Shape = Callable[[float], float]

# How fast "exponential" approaches its end: the rest shrinks by exp(−5), to 0.7 %, before it is cut.
EXPONENTIAL_RATE = 5.0


def linear(p: float) -> float:
    """The same rise at all times."""
    return p


def cubic(p: float) -> float:
    """1 − (1 − p)³: fast while there is most to remove (Zhu & Gupta 2017, arXiv 1710.01878)."""
    return 1.0 - (1.0 - p) ** 3


def cosine(p: float) -> float:
    """(1 − cos πp) ÷ 2: slow at both ends."""
    return (1.0 - math.cos(math.pi * p)) / 2.0


def exponential(p: float) -> float:
    """(1 − exp(−5p)) ÷ (1 − exp(−5)): the fastest start; half is done at p = 0.14."""
    return math.expm1(-EXPONENTIAL_RATE * p) / math.expm1(-EXPONENTIAL_RATE)


# Share of the rise that is done at share p of the time; each maps [0, 1] onto [0, 1] and never falls.
SHAPES: dict[str, Shape] = {
    "linear": linear,
    "cubic": cubic,
    "cosine": cosine,
    "exponential": exponential,
}


def round_shares(round_share: float, start: float, final: float) -> tuple[float, ...]:
    """The rounds of iterative magnitude pruning, each of which removes a share of what remains.

    After round r the sparsity is 1 − (1 − start)·(1 − round_share)^r; the last round removes only what
    is left to do (Han et al. 2015, arXiv 1506.02626; Frankle & Carbin 2019 take a share of 0.2).

    Args:
        round_share: Share of the remaining weights that a round removes, in (0, 1).
        start: Sparsity before the first round, in [0, 1).
        final: Sparsity after the last round, in [0, 1).

    Returns:
        Share of the rise that is done after each round, strictly increasing, the last one 1.
    """
    if final <= start:
        return (1.0,)
    # A hair less than the last whole round needs, so that 0.2 → 0.36 is two rounds and not three.
    exact = math.log((1.0 - final) / (1.0 - start)) / math.log(1.0 - round_share)
    rounds = max(1, math.ceil(exact - 1e-9))
    rise = final - start
    early = [(1.0 - start) * (1.0 - (1.0 - round_share) ** r) / rise for r in range(1, rounds)]
    return (*early, 1.0)


def decayed_share(share: float, p: float) -> float:
    """The share exchanged by regrowth at share p of the time: share ÷ 2 · (1 + cos πp) (RigL, eq. 1).

    Args:
        share: Share exchanged at the start, in (0, 1).
        p: Share of the time between begin and end of regrowth that is over, in [0, 1].
    """
    return share / 2.0 * (1.0 + math.cos(math.pi * p))


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A value that rises once over training.

    Attributes:
        schedule: "one_shot", "constant", "iterative", or a name in `SHAPES`.
        begin: Progress at which the rise starts, in [0, 1]; "constant" doesn't read it.
        end: Progress at which it is complete, in [`begin`, 1].
        final: The value it rises to.
        start: The value it rises from.
        anchor: Progress at which `start` held, where a lineage changes its schedule on the way; the
            rise then starts no earlier. None: it was so from the beginning.
        rounds: Share of the rise that is done after each round of "iterative". The rounds are spread
            evenly: of R, round r comes at share r ÷ R of the time, the last one at `end`.
    """

    schedule: str
    begin: float
    end: float
    final: float
    start: float = 0.0
    anchor: float | None = None
    rounds: tuple[float, ...] = ()

    def at(self, progress: float) -> float:
        """The value at a share of the horizon.

        Args:
            progress: Env steps done ÷ horizon, ≥ 0.

        Returns:
            A value in [`start`, max(`start`, `final`)] that never falls as progress rises. A ramp that
            is anchored at or after its end holds `start`: only "one_shot" and "constant" may jump.
        """
        final = max(self.start, self.final)
        begin = self.begin if self.anchor is None else max(self.begin, self.anchor)
        if self.schedule == "constant":
            return final
        if progress < begin:
            return self.start
        if self.schedule == "one_shot":
            return final
        if self.anchor is not None and self.anchor >= self.end:
            return self.start
        if progress >= self.end:
            return final
        p = (progress - begin) / (self.end - begin)
        return self.start + (final - self.start) * self._share(p)

    def _share(self, p: float) -> float:
        if self.schedule != "iterative":
            return SHAPES[self.schedule](p)
        # A hair more, or (0.5 − 0.2) ÷ 0.6 would not be half of the time.
        done = min(math.floor(p * len(self.rounds) + 1e-9), len(self.rounds))
        return self.rounds[done - 1] if done else 0.0
