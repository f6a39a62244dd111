"""What a search has spent of its budget, and what is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rllib_ext.member.segment import DENSE
from search.config.experiment import ExperimentConfig
from search.population.recovery import Past, Running


class Spending:
    """Env steps and seconds of a search, those of earlier processes included.

    Attributes:
        training: Env steps that members trained, lost and repeated ones too.
        before: Those of them that earlier processes did.
        baselines: Env steps of the dense baseline.
        evaluation: Env steps of evaluation during the search.

    Args:
        config: The experiment.
        past: What earlier processes spent.
        seconds: How long they trained.
        clock: Seconds since some moment.
    """

    def __init__(
        self, config: ExperimentConfig, past: Past, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._budget = config.budget
        # As far as anybody looks ahead where only time limits a search.
        self._far = config.horizon * config.population.members
        self._clock = clock
        self._started = clock() - seconds
        self.training = self.before = past.spent
        self.baselines = past.dense_env_steps
        self.evaluation = past.evaluation_env_steps

    def book(self, member: int, result: Mapping[str, Any]) -> None:
        """Books an iteration's result, as of `Coordinator.tell`."""
        self.evaluation += int(result.get("evaluation_env_steps", 0))
        if member == DENSE:
            self.baselines += int(result["env_steps_this_iter"])
        else:
            self.training += int(result["env_steps_this_iter"])

    @property
    def seconds(self) -> float:
        """Since the search began, pauses left out."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """Of a budget in seconds; infinite without one."""
        limit = self._budget.seconds
        return math.inf if limit is None else limit - self.seconds

    def left(self, running: Iterable[Running]) -> int:
        """Env steps that are left when all that is running has ended; 0 once time is up."""
        if self.seconds_left <= 0.0:
            return 0
        if self._budget.env_steps is None:
            return self._far
        committed = sum(
            max(0, r.segment.until_env_steps - r.env_steps)
            for r in running
            if r.segment.member != DENSE
        )
        return self._budget.env_steps - self.training - committed

    def by_purpose(self) -> dict[str, int]:
        """Env steps: training of members, of the dense baseline, evaluation during the search."""
        return {
            "training": self.training,
            "baselines": self.baselines,
            "evaluation": self.evaluation,
        }
