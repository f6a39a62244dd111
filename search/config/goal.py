"""The goal of a search: limits that the wanted policy must meet. Imports neither Ray nor torch."""

from __future__ import annotations

from pydantic import Field

from search.config.settings import Settings


class GoalSettings(Settings):
    """What the policy that is wanted must fulfil: one limit, or both.

    The search aims at it (`search.front.aim`), the verdict says whether it is met, the charts mark it,
    and `prunefront export` takes what meets it unless another point is named.
    """

    max_weights: int | None = Field(default=None, ge=1)
    """At most so many non-zero weights on the policy path: wanted is the best return that fits."""
    min_retained: float | None = Field(default=None, gt=0.0, le=2.0, allow_inf_nan=False)
    """At least so much of the dense policy's return, above a random policy's, such as 0.95: wanted are
    the fewest weights that keep it."""

    @property
    def given(self) -> bool:
        """Whether any limit is set."""
        return self != NO_GOAL

    @property
    def in_words(self) -> str:
        """The goal in words, such as "at most 1,000 weights that keep 95 % of the dense policy".

        Empty if there is no goal.
        """
        parts = []
        if self.max_weights is not None:
            parts.append(f"at most {self.max_weights:,} weights")
        if self.min_retained is not None:
            kept = f"keep {100 * self.min_retained:.4g} % of the dense policy"
            parts.append(f"that {kept}" if parts else f"the fewest weights that {kept}")
        return " ".join(parts)


NO_GOAL = GoalSettings()
