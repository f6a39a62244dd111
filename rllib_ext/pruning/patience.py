"""The plateau rule: raise the level, hold, roll back, stop. Pure.

The loop of the article that this project began from – prune, retrain, evaluate, adjust until
satisfied – made safe: the level rises by a step while the return holds; where it doesn't recover in
time, the last accepted state comes back and the step is halved.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

# Evaluations at the accepted level whose mean is the reference.
REFERENCE_WINDOW = 5

Action = Literal["hold", "raise", "roll_back"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
    """Where the rule stands.

    Attributes:
        step: What the next raise adds to the level, > 0.
        level: The level in force, in [0, 1].
        accepted: The last level at which the return held, ≤ `level`.
        reference: The last returns at the accepted level, oldest first.
        waited: Evaluations since the last raise that were below the bar.
        ended: Whether the step fell below the smallest one, so that pruning is over.
    """

    step: float
    level: float = 0.0
    accepted: float = 0.0
    reference: tuple[float, ...] = ()
    waited: int = 0
    ended: bool = False

    @property
    def settled(self) -> bool:
        """Whether the level in force is the accepted one."""
        return self.level == self.accepted

    def bar(self, tolerance: float, random_return: float) -> float:
        """The lowest return that counts as holding.

        Args:
            tolerance: What may be lost, as a share of (reference − random return), in [0, 1].
            random_return: Mean return of a policy that acts at random.

        Returns:
            The bar, in units of return; NaN before the first evaluation.
        """
        if not self.reference:
            return float("nan")
        mean = sum(self.reference) / len(self.reference)
        return mean - tolerance * max(0.0, mean - random_return)


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
    """What to do after one evaluation.

    Args:
        plateau: Where the rule stands.
        evaluated_return: Mean return of the policy as it is now; finite.
        tolerance: As `Plateau.bar`.
        patience: Evaluations below the bar that are waited for before rolling back, ≥ 0.
        min_step: The step below which pruning ends.
        random_return: As `Plateau.bar`.
        may_raise: Whether the level may still rise; one on trial is judged all the same.

    Returns:
        The action and the new standing. "raise": the policy as it is now becomes the accepted state,
        to come back to, before the level rises. "roll_back": the accepted state comes back.
    """
    if plateau.settled:
        reference = (*plateau.reference, evaluated_return)[-REFERENCE_WINDOW:]
        return _raise(dataclasses.replace(plateau, reference=reference), may_raise)
    if evaluated_return >= plateau.bar(tolerance, random_return):
        accepted = dataclasses.replace(
            plateau, accepted=plateau.level, reference=(evaluated_return,), waited=0
        )
        return _raise(accepted, may_raise)
    if plateau.waited < patience:
        return "hold", dataclasses.replace(plateau, waited=plateau.waited + 1)
    step = plateau.step / 2
    back = dataclasses.replace(
        plateau, level=plateau.accepted, waited=0, step=step, ended=step < min_step
    )
    return "roll_back", back


def _raise(plateau: Plateau, may_raise: bool) -> tuple[Action, Plateau]:
    if not may_raise or plateau.ended or plateau.accepted >= 1.0:
        return "hold", plateau
    level = min(1.0, plateau.accepted + plateau.step)
    return "raise", dataclasses.replace(plateau, level=level)
