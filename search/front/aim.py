"""Aims a search at its goal: caps objectives, sets target sparsities and chooses candidates.

The goal is an aspiration level in the sense of reference-point methods (Deb & Sundar 2006; Molina et al.
2009, g-dominance): an objective gains nothing beyond what the goal asks for. Of two policies that both
have few enough weights, only the return decides; of two that both keep enough return, only the weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from search.config.goal import NO_GOAL, GoalSettings
from search.front.pareto import candidates
from search.store.archive import Baseline, Snapshot

# Share of the lineages whose target is near the goal; the others explore the whole front.
AIMED = 0.75
# Fewest weights to aim at, as a share of the most. Under a limit on weights, more weights return more;
# under a limit on the return, it is not known yet how few weights suffice.
LEAST_OF_LIMIT = 0.5
LEAST_OF_KNOWN = 0.25
# Share of the candidates that are chosen near the goal, and by which factor their weights may miss it.
NEAR_SHARE = 0.5
NEAR = 3.0


@dataclasses.dataclass(frozen=True)
class Aim:
    """A goal, combined with what is known about the search so far.

    Attributes:
        goal: The goal; without limits, nothing is aimed at.
        enough: Mean return that keeps `goal.min_retained`; infinite if not asked for or unknown.
        total: Prunable weights of the policy path; 0 if unknown.
    """

    goal: GoalSettings = NO_GOAL
    enough: float = math.inf
    total: int = 0

    def capped(self, mean: float, sparsity: float, total: int) -> tuple[float, float]:
        """Returns the return and sparsity of a policy, each capped at what the goal asks for.

        The sparsity is capped only if the goal limits nothing but the weights.

        Args:
            mean: Mean return of the policy.
            sparsity: Sparsity of the policy.
            total: Prunable weights of the policy path.
        """
        most = self.goal.max_weights
        if most is not None and self.goal.min_retained is None:
            sparsity = min(sparsity, max(0.0, 1.0 - most / max(1, total)))
        return min(mean, self.enough), sparsity

    def few_enough(self, weights: int) -> bool:
        """Whether the goal limits nothing but the weights, and this many weights meet it."""
        most = self.goal.max_weights
        return most is not None and self.goal.min_retained is None and weights <= most

    def weights(self, known: Sequence[Snapshot]) -> tuple[float, float] | None:
        """Returns the fewest and the most weights to aim at, or None if there is no such range.

        The most are the fewest weights known to keep enough return, or the goal's limit if it is lower.

        Args:
            known: Policies evaluated so far.
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
        """Returns the lowest and the highest sparsity to aim at, which correspond to `weights`.

        The lowest sparsity belongs to the most weights. None if there is no range to aim at, or if the
        number of prunable weights is unknown.
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
    """Returns the aim for a goal, given the baselines' search scores.

    Args:
        goal: The goal.
        baselines: Known baselines by name.
        floor: Return to use in place of the random policy's if that is unknown.
        total: Prunable weights of the policy path; 0 if unknown.
    """
    share = goal.min_retained
    enough = math.inf if share is None else return_that_keeps(share, baselines, floor)
    return Aim(goal, enough, total)


def return_that_keeps(share: float, baselines: Mapping[str, Baseline], floor: float) -> float:
    """Returns the mean return that keeps a share of the dense policy's gain over a random one.

    Args:
        share: Share to keep, such as 0.95.
        baselines: Known baselines by name.
        floor: Return to use in place of the random policy's if that is unknown.

    Returns:
        The mean return; infinity if the dense baseline is unknown or no better than a random policy,
        or if the random policy's return is unknown and `floor` is not finite.
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
    """Returns the snapshots to re-evaluate on fresh episodes, up to half of them near the goal.

    Without a range to aim at, these are the snapshots of `search.front.pareto.candidates`.

    Args:
        aim: The aim of the search.
        snapshots: Snapshots of the archive.
        limit: Largest number of snapshots to return, ≥ 1.
        floor: Return that a candidate must exceed, as in `candidates`.

    Returns:
        At most `limit` snapshots, the densest first.
    """
    held = [s for s in snapshots if s.usable and s.checkpoint]
    aimed = aim.weights(held)
    if aimed is None:
        return candidates(snapshots, limit, floor=floor)
    few, most = aimed
    # The goal's limit on weights is exact; with fresh episodes, other policies may keep enough return.
    most = most if most == aim.goal.max_weights else NEAR * most
    near = [s for s in held if few / NEAR <= s.nonzero_params <= most]
    taken = candidates(near, math.ceil(NEAR_SHARE * limit), floor=floor)
    known = {s.snapshot_id for s in taken}
    whole = candidates(snapshots, limit, floor=floor)
    others = [s for s in whole if s.snapshot_id not in known]
    others = candidates(others, limit - len(taken), floor=floor)
    return sorted([*taken, *others], key=lambda s: (s.sparsity, s.snapshot_id))
