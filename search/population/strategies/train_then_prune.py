"""Train once, prune afterwards: the way of most of the literature, within the same budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from typing_extensions import override

from search.config.experiment import ExperimentConfig
from search.config.space import TARGET, Values
from search.population.baselines import unpruned
from search.population.member import Member
from search.population.strategies.base import Plan, Strategy
from search.population.study import NO_TRIAL, Proposal
from search.store.archive import Snapshot


class TrainThenPrune(Strategy):
    """One dense training; then every member prunes it to a level of its own and trains on.

    The levels are spread evenly over the range of `pruning.final_sparsity`, on its own scale, both ends
    included; everything else is as configured. `begin` and `end` of the schedule are shares of what a
    level is trained for.
    """

    @override
    @classmethod
    def horizon_of(cls, config: ExperimentConfig) -> int:
        """The dense training and an equal share of what is left."""
        dense = _dense_steps(config)
        return dense + (_budget(config) - dense) // config.population.members

    @property
    def _dense(self) -> Snapshot | None:
        """The end of the dense training, which all levels start from."""
        untold = (s for s in self._snapshots.donors.values() if s.trial_number == NO_TRIAL)
        return next((s for s in untold if s.env_steps >= _dense_steps(self._config)), None)

    @override
    def useless(self, donors: Sequence[Snapshot], before: int) -> list[Snapshot]:
        dense = self._dense
        return super().useless([s for s in donors if s is not dense], before)

    @override
    def plan(self, member: Member) -> Plan:
        """After a failure a level begins again."""
        last, dense = member.last, self._dense
        if dense is None:
            return self._dense_plan(None if member.failures else last)
        if last is None or member.failures or last.trial_number == NO_TRIAL:
            share = member.index / max(1, self._config.population.members - 1)
            values: Values = {TARGET: self._space.parameters[TARGET].at(share)}
            proposal = self._study.enter(values)
            self._note_copy("replacement" if member.failures else "exploit", member, dense)
            self._note_exploration(member, "level", proposal)
            return self._level_plan(dense, proposal)
        return self._level_plan(last, self._study.enter(member.hyperparameters))

    @override
    def next_member(
        self, idle: Sequence[Member], running: Sequence[Member], left: int
    ) -> Member | None:
        """All wait for the one that trains the dense policy."""
        if self._dense is None:
            return next(iter(idle), None) if not running and left > 0 else None
        return super().next_member(idle, running, left)

    def _restarting(self, idle: Sequence[Member]) -> list[Member]:
        return []

    def _dense_plan(self, last: Snapshot | None) -> Plan:
        steps = _dense_steps(self._config)
        pruning = unpruned(self._config.pruning, steps)
        return Plan(last, Proposal(NO_TRIAL, {TARGET: 0.0}), pruning, steps)

    def _level_plan(self, source: Snapshot, proposal: Proposal) -> Plan:
        plain = self._config.pruning_with(proposal.values)
        began = _dense_steps(self._config) / self.horizon
        shares = {name: began + (1.0 - began) * getattr(plain, name) for name in ("begin", "end")}
        pruning = dataclasses.replace(plain, horizon=self.horizon, **shares)
        return Plan(source, proposal, pruning, self.horizon)


def _dense_steps(config: ExperimentConfig) -> int:
    return round(config.search.dense_share * _budget(config))


def _budget(config: ExperimentConfig) -> int:
    assert config.budget.env_steps is not None, "the configuration refuses this strategy without"
    return config.budget.env_steps
