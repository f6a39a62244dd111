"""Whole trainings that copy nobody: `random` and `optuna`."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from search.config.experiment import ExperimentConfig
from search.population.member import Member
from search.population.strategies.base import Plan, Strategy
from search.store.archive import Snapshot

# Optuna's own default.
MOST_STARTUP_TRIALS = 10


class Random(Strategy):
    """Every lineage keeps what it drew at its birth; a member at its horizon is born again.

    A trial of the study is a lineage: it is told at the horizon.
    """

    @override
    def ends_trial(self, last: Snapshot) -> bool:
        return last.env_steps >= self.horizon

    @override
    def useless(self, donors: Sequence[Snapshot], before: int) -> list[Snapshot]:
        """Nobody looks for donors at all."""
        return list(donors)

    @override
    def plan(self, member: Member) -> Plan:
        """Plans a member's next segment; after a failure hyperparameters are drawn again."""
        last = member.last
        if last is None or member.failures or member.env_steps >= self.horizon:
            return self._planned(None, self._birth(member, self._generator(member)))
        proposal = self._study.go_on(member.trial_number, member.hyperparameters)
        return self._planned(last, proposal)

    def _turn(self, member: Member) -> tuple[int, ...]:
        """Puts members that have begun first, because the sampler learns from finished ones."""
        lineage_began = 0 < member.env_steps < self.horizon
        return (not lineage_began, -member.env_steps, member.segment, member.index)


class Optuna(Random):
    """Whole trainings like `Random`'s, with the proposals of the study's sampler."""

    guided = True

    @override
    @classmethod
    def startup_trials(cls, config: ExperimentConfig) -> int:
        """Half of the lineages that the members train, 10 at most."""
        return min(MOST_STARTUP_TRIALS, max(2, config.population.members // 2))
