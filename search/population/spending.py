"""Tracks what is left of a search's budget."""

from __future__ import annotations

import math
from collections.abc import Callable

from rllib_ext.member.segment import DENSE
from search.config.experiment import ExperimentConfig
from search.population.state import State


class Spending:
    """Env steps and seconds that a search has left, those of earlier processes included.

    Args:
        config: The experiment.
        seconds: Seconds that earlier processes trained for.
        clock: Seconds since some moment.
    """

    def __init__(
        self, config: ExperimentConfig, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._budget = config.budget
        # As far as anybody looks ahead where only time limits a search.
        self._far = config.horizon * config.population.members
        self._clock = clock
        self._started = clock() - seconds

    @property
    def seconds(self) -> float:
        """Since the search began, pauses left out."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """Seconds left of the budget; infinite without one."""
        limit = self._budget.seconds
        return math.inf if limit is None else limit - self.seconds

    def left(self, state: State) -> int:
        """Env steps that are left when all that is running has ended; 0 once time is up."""
        if self.seconds_left <= 0.0:
            return 0
        if self._budget.env_steps is None:
            return self._far
        committed = sum(
            max(0, r.segment.until_env_steps - r.heard)
            for member, r in state.running.items()
            if member != DENSE
        )
        return self._budget.env_steps - state.spent["training"] - committed
