"""Decides how often failures are retried; losses of the cluster's processes hardly count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from search.cluster.failure import is_death, is_loss, is_unseen

# Of what was raised, and of deaths of which nobody knows why at one and the same point: the code's own.
RETRIES = 2
# Deaths of which nobody knows why, anywhere: from outside, or of code that crashes by chance.
MOST_DEATHS = 10
# What a cluster took away, with a node or because memory ran low: it can't always be chance.
MOST_LOSSES = 30


class Retries:
    """Knows what failed how often, and says whether it is tried again."""

    def __init__(self) -> None:
        self._raised: Counter[Hashable] = Counter()
        self._deaths: Counter[Hashable] = Counter()
        self._deaths_at: Counter[tuple[Hashable, int]] = Counter()
        self._losses: Counter[Hashable] = Counter()

    def again(self, what: Hashable, reason: str, reached: int = 0, *, begun: bool = True) -> bool:
        """Whether something that failed is tried again.

        Args:
            what: Identifies it.
            reason: Reason as returned by `search.cluster.failure.reason_of`.
            reached: Progress at the failure.
            begun: Whether it had been begun at all: Tune hands trials also to idle processes that have
                died meanwhile.
        """
        dead = is_death(reason)
        if is_loss(reason) or is_unseen(reason) or (dead and not begun):
            self._losses[what] += 1
            return self._losses[what] <= MOST_LOSSES
        if dead:
            self._deaths[what] += 1
            self._deaths_at[what, reached] += 1
            return self._deaths_at[what, reached] <= RETRIES and self._deaths[what] <= MOST_DEATHS
        self._raised[what] += 1
        return self._raised[what] <= RETRIES
