"""The plateau rule: raise the level, hold, roll back, stop. Pure.

The loop of the article that this project began from – prune, retrain, evaluate, adjust until
satisfied – made safe: the level rises by a step while the return holds; where it doesn't recover in
time, the last accepted state comes back and the step is halved.

What holds is measured against the best level so far, so that losses don't add up over levels. A level
is accepted once its mean return lies above the bar for sure: its lower bound, by Student's t over the
last evaluations, so that neither a lucky one nor the best of many tries decides. The price is sharpness:
where the noise of an evaluation is as large as what may be lost, half of the levels that cost nothing
are refused.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

# Evaluations at the level in force that count: the last ones.
WINDOW = 5
# How often a level is accepted, at most, whose true return lies exactly at the bar – less often below
# it – where evaluations scatter as at the levels before. A simulated share: see
# tests/rllib_ext/pruning/test_patience_odds.py.
FALSE_ACCEPTANCES = 0.05

# "raise": the policy as it is now becomes the accepted state before the level rises. "retry": the
# level rises, but the accepted state stays. "roll_back": the accepted state comes back.
Action = Literal["hold", "raise", "retry", "roll_back"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
    """The state of the plateau rule.

    Attributes:
        step: Amount that the next raise adds to the level, > 0.
        level: The level in force, in [0, 1].
        accepted: The last level at which the return held, ≤ `level`.
        reference: The highest return that an accepted level has, of which a mean of several
            evaluations gives account; it never sinks. None: before `WINDOW` evaluations.
        deviation: Standard deviation of an evaluation: at first that at the start, then more and more
            that of the levels on trial.
        seen: The last returns at the level in force, oldest first.
        begun: Whether a state was accepted, to come back to.
        waited: Evaluations since the last raise that were below the bar.
        ended: Whether the step fell below the smallest one, so that pruning is over.
    """

    step: float
    level: float = 0.0
    accepted: float = 0.0
    reference: float | None = None
    deviation: float = 0.0
    seen: tuple[float, ...] = ()
    begun: bool = False
    waited: int = 0
    ended: bool = False

    @property
    def settled(self) -> bool:
        """Whether the level in force is the accepted one."""
        return self.level == self.accepted

    def bar(self, tolerance: float, random_return: float) -> float:
        """The lowest return that counts as holding.

        Args:
            tolerance: Loss that is tolerated, as a share of (reference − random return), in [0, 1].
            random_return: Mean return of a policy that acts at random.

        Returns:
            The bar, in units of return; NaN without a reference.
        """
        if self.reference is None:
            return math.nan
        return self.reference - tolerance * max(0.0, self.reference - random_return)


def advance(
    plateau: Plateau,
    evaluated_return: float,
    *,
    tolerance: float,
    patience: int,
    min_step: float,
    random_return: float,
    may_raise: bool = True,
) -> tuple[Action, Plateau]:
    """Decides what to do after one evaluation.

    Args:
        plateau: Current state of the rule.
        evaluated_return: Mean return of the policy as it is now; finite.
        tolerance: Share of the reference that may be lost (see `Plateau.bar`).
        patience: Evaluations below the bar that are waited for before rolling back, ≥ 0.
        min_step: The step below which pruning ends.
        random_return: Return of the random policy (see `Plateau.bar`).
        may_raise: Whether the level may still rise; one on trial is judged all the same.

    Returns:
        The action and the new standing.
    """
    plateau = dataclasses.replace(plateau, seen=(*plateau.seen, evaluated_return)[-WINDOW:])
    if not plateau.begun:
        plateau = _measured(plateau)
        holds = evaluated_return >= plateau.bar(tolerance, random_return)
        return _raised(plateau, "raise", may_raise) if holds else ("hold", plateau)
    if plateau.settled:
        # What came back was accepted once; nothing new is known that should take its place.
        return _raised(plateau, "retry", may_raise)
    if evaluated_return < plateau.bar(tolerance, random_return):
        if plateau.waited < patience:
            return "hold", dataclasses.replace(plateau, waited=plateau.waited + 1)
        return "roll_back", _rolled_back(plateau, min_step)
    sure = sure_return(plateau.seen, plateau.deviation, patience)
    plateau = _scattered(plateau)
    if sure < plateau.bar(tolerance, random_return):
        return "hold", plateau
    assert plateau.reference is not None, "a level is on trial after the first reference"
    # What is sure, and not the mean: the best of many means would be one of luck.
    accepted = dataclasses.replace(
        plateau,
        accepted=plateau.level,
        reference=max(plateau.reference, sure),
        waited=0,
    )
    return _raised(accepted, "raise", may_raise)


def sure_return(returns: tuple[float, ...], deviation: float, patience: int) -> float:
    """A bound below which the true mean of returns hardly lies.

    The higher one of Student's bounds from the last 3 and the last 5 returns: those from before a
    policy has recovered must not weigh for long.

    Args:
        returns: The returns of evaluations, oldest first.
        deviation: Standard deviation that is taken at least: three returns can agree by chance.
        patience: Evaluations that a level is given (see `advance`). Each is one more try, so each may be
            wrong less often.

    Returns:
        The bound; −∞ for fewer than 3 returns.
    """
    chance = FALSE_ACCEPTANCES / (patience + 1)
    bounds = [
        _mean(last) - quantile(chance) * max(deviation, _deviation(last)) / math.sqrt(size)
        for size, quantile in ((3, _student_2), (5, _student_4))
        if len(last := returns[-size:]) == size
    ]
    return max(bounds, default=-math.inf)


def _measured(plateau: Plateau) -> Plateau:
    if len(plateau.seen) < WINDOW:
        return plateau
    mean = _mean(plateau.seen)
    before = plateau.reference
    return dataclasses.replace(
        plateau,
        reference=mean if before is None else max(before, mean),
        deviation=_deviation(plateau.seen),
    )


def _scattered(plateau: Plateau) -> Plateau:
    if len(plateau.seen) < WINDOW:
        return plateau
    # A running mean: a wild evaluation is forgotten, and a few that agree by chance don't weigh much.
    variance = 0.75 * plateau.deviation**2 + 0.25 * _deviation(plateau.seen) ** 2
    return dataclasses.replace(plateau, deviation=math.sqrt(variance))


def _raised(plateau: Plateau, action: Action, may_raise: bool) -> tuple[Action, Plateau]:
    if not may_raise or plateau.ended or plateau.accepted >= 1.0:
        return "hold", plateau
    level = min(1.0, plateau.accepted + plateau.step)
    return action, dataclasses.replace(plateau, level=level, seen=(), begun=True)


def _rolled_back(plateau: Plateau, min_step: float) -> Plateau:
    step = plateau.step / 2
    return dataclasses.replace(
        plateau, level=plateau.accepted, seen=(), waited=0, step=step, ended=step < min_step
    )


def _mean(returns: tuple[float, ...]) -> float:
    return math.fsum(returns) / len(returns)


def _deviation(returns: tuple[float, ...]) -> float:
    mean = _mean(returns)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in returns) / (len(returns) - 1))


def _student_2(chance: float) -> float:
    """Returns the value that Student's t with 2 degrees of freedom exceeds with a given probability."""
    both = 4.0 * chance * (1.0 - chance)
    return (1.0 - 2.0 * chance) * math.sqrt(2.0 / both)


def _student_4(chance: float) -> float:
    """The same with 4 degrees of freedom (Shaw 2006, J. Computational Finance 9(4), eq. 38)."""
    root = math.sqrt(4.0 * chance * (1.0 - chance))
    return 2.0 * math.sqrt(math.cos(math.acos(root) / 3.0) / root - 1.0)
