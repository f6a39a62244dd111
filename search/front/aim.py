"""How a search aims at its goal: what counts as gain, where lineages set out for, who is tried again.

An aspiration level in the sense of reference-point methods (Deb & Sundar 2006; Molina et al. 2009,
g-dominance): beyond what the goal asks for, an objective gains nothing. Between two policies that both
have few enough weights the return alone decides, and between two that both keep enough the weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from search.config.goal import NO_GOAL, GoalSettings
from search.front.pareto import candidates
from search.store.archive import Baseline, Snapshot

# Share of the lineages that set out for the goal; the others keep looking for the whole front.
AIMED = 0.75
# Aimed at are weights from the most that may be left down to this share of them: where their number is
# limited, more of them return more; where the return is, nobody knows yet how few will do.
LEAST_OF_LIMIT = 0.5
LEAST_OF_KNOWN = 0.25
# Candidates that are looked at again because they lie near the goal, and how far from it they may.
NEAR_SHARE = 0.5
NEAR = 3.0


@dataclasses.dataclass(frozen=True)
class Aim:
    """A goal with what is known of the search so far.

    Attributes:
        goal: The goal; one that isn't given aims at nothing.
        enough: Mean return that keeps `goal.min_retained`; infinite where it isn't asked for or known.
        total: Prunable weights of the policy path; 0 where they are not known.
    """

    goal: GoalSettings = NO_GOAL
    enough: float = math.inf
    total: int = 0

    def capped(self, mean: float, sparsity: float, total: int) -> tuple[float, float]:
        """Return and sparsity of a policy, no more of either than the goal asks for.

        Args:
            mean: Its mean return.
            sparsity: Its sparsity.
            total: Prunable weights of the policy path.
        """
        most = self.goal.max_weights
        if most is not None and self.goal.min_retained is None:
            sparsity = min(sparsity, max(0.0, 1.0 - most / max(1, total)))
        return min(mean, self.enough), sparsity

    def few_enough(self, weights: int) -> bool:
        """Whether the goal asks for no fewer weights than these."""
        most = self.goal.max_weights
        return most is not None and self.goal.min_retained is None and weights <= most

    def weights(self, known: Sequence[Snapshot]) -> tuple[float, float] | None:
        """Fewest and most weights that are aimed at; None: at nothing in particular.

        Args:
            known: Policies so far: the fewest weights among them that keep enough.
        """
        limit = self.goal.max_weights
        keeping = [
            s.nonzero_params for s in known if s.status == "ok" and s.return_mean >= self.enough
        ]
        if keeping and (limit is None or min(keeping) < limit):
            most = float(max(1, min(keeping)))
            return LEAST_OF_KNOWN * most, most
        return None if limit is None else (LEAST_OF_LIMIT * limit, float(limit))

    def sparsities(self, known: Sequence[Snapshot]) -> tuple[float, float] | None:
        """As `weights`, as sparsities from the lowest to the highest; None too where `total` is unknown.

        The lowest is that of the most weights.
        """
        total = self.total or max((s.total_params for s in known), default=0)
        aimed = self.weights(known)
        if aimed is None or not total:
            return None
        few, most = aimed
        return max(0.0, 1.0 - most / total), max(0.0, 1.0 - few / total)


NO_AIM = Aim()


def aim_of(
    goal: GoalSettings, baselines: Mapping[str, Baseline], floor: float, total: int = 0
) -> Aim:
    """The aim that baselines' search scores allow.

    Args:
        goal: The goal.
        baselines: By name, as far as they are known.
        floor: Stands for the random policy's return where that is not known.
        total: Prunable weights of the policy path; 0 where they are not known.
    """
    share = goal.min_retained
    enough = math.inf if share is None else return_that_keeps(share, baselines, floor)
    return Aim(goal, enough, total)


def return_that_keeps(share: float, baselines: Mapping[str, Baseline], floor: float) -> float:
    """The mean return that keeps a share of the dense policy's gain over a random one.

    Args:
        share: Such as 0.95.
        baselines: By name, as far as they are known.
        floor: Stands for the random policy's return where that is not known.

    Returns:
        Infinity before the dense baseline is known, where it is no better than a random policy, and
        where no random policy is known.
    """
    if "dense" not in baselines:
        return math.inf
    random = baselines["random"].search_return if "random" in baselines else floor
    dense = baselines["dense"].search_return
    known = math.isfinite(random) and dense > random
    return random + share * (dense - random) if known else math.inf


def candidates_for(
    aim: Aim, snapshots: Sequence[Snapshot], limit: int, *, floor: float = -math.inf
) -> list[Snapshot]:
    """The snapshots that deserve fresh episodes, up to half of them because they lie near the goal.

    Without a goal, and before one can be aimed at, those of `search.front.pareto.candidates`.

    Args:
        aim: The goal, and what is known.
        snapshots: The archive.
        limit: At most so many are returned, ≥ 1.
        floor: As for `candidates`.

    Returns:
        At most `limit` snapshots, the densest first.
    """
    held = [s for s in snapshots if s.usable and s.checkpoint]
    aimed = aim.weights(held)
    if aimed is None:
        return candidates(snapshots, limit, floor=floor)
    few, most = aimed
    # A limit is a limit; which return is enough, fresh episodes see differently.
    most = most if most == aim.goal.max_weights else NEAR * most
    near = [s for s in held if few / NEAR <= s.nonzero_params <= most]
    taken = candidates(near, math.ceil(NEAR_SHARE * limit), floor=floor)
    known = {s.snapshot_id for s in taken}
    whole = candidates(snapshots, limit, floor=floor)
    others = [s for s in whole if s.snapshot_id not in known]
    others = candidates(others, limit - len(taken), floor=floor)
    return sorted([*taken, *others], key=lambda s: (s.sparsity, s.snapshot_id))
