"""Populations that copy as `pareto_pbt` does, but for one thing each: `selection` and `pbt`."""

from __future__ import annotations

import dataclasses

import numpy as np

from search.population.member import Member
from search.population.selection import Moment
from search.population.strategies.pareto_pbt import ParetoPBT
from search.population.study import Proposal
from search.store.archive import Snapshot


class Selection(ParetoPBT):
    """Selection without mutation: clones keep their donor's hyperparameters, only seeds differ.

    Newcomers of a growing population are no clones: they have hyperparameters of their own.
    """

    guided = False

    def _is_stagnant(self, member: Member) -> bool:
        return False

    def _explore(
        self, member: Member, donor: Snapshot, rng: np.random.Generator, fewer: float = 0.0
    ) -> Proposal:
        if member.last is None:
            return super()._explore(member, donor, rng, fewer)
        proposal = self._study.enter(donor.hyperparameters)
        self._note_exploration(member, "inheritance", proposal)
        return proposal


class PBT(ParetoPBT):
    """Population-based training of one scalar (Jaderberg et al. 2017, arXiv 1711.09846).

    The scalar is the weighted sum of the sparsity and of the return, which is scaled to [0, 1] over all
    feasible policies that are ranked. A donor may be denser: what a weight is worth is in the
    scalar.
    """

    guided = False
    spreads = False
    copies_denser = True

    def _is_stagnant(self, member: Member) -> bool:
        return False

    def _ranked(self, moments: list[Moment]) -> list[Moment]:
        returns = [m.objectives[0] for m in moments if m.feasible]
        low, high = min(returns, default=0.0), max(returns, default=1.0)
        weight = self._settings.sparsity_weight

        def scalar(moment: Moment) -> float:
            scaled = (moment.objectives[0] - low) / ((high - low) or 1.0)
            return (1.0 - weight) * scaled + weight * moment.sparsity

        return [dataclasses.replace(m, objectives=(scalar(m),)) for m in moments]
