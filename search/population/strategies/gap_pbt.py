"""Population-based training that sends members to where the front has its largest gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from rllib_ext.member.segment import DENSE
from search.config.experiment import ExperimentConfig
from search.config.parameter import FloatParameter
from search.config.space import TARGET
from search.front.aim import AIMED
from search.front.pareto import CLEARLY
from search.population.gaps import (
    Gap,
    Pace,
    beaten,
    choose_gap,
    choose_start,
    depth,
    gaps,
    sparsity_at,
)
from search.population.member import Member
from search.population.register import Register
from search.population.selection import Moment, among_the_worst, at_progress, rank
from search.population.strategies.base import Plan, seed_from
from search.population.strategies.pareto_pbt import STAGNANT_CUT, ParetoPBT
from search.population.study import Proposal, Study
from search.store.archive import Archive, Snapshot

# Share of the horizon that pruning takes through the whole searched range of sparsities.
THROUGH_THE_RANGE = 0.6
# A member may go back by a quarter of its clock: what was good long before may have been luck.
BACK = 0.75
# Part of a gap in which targets lie, from its denser end: the rest would mostly be too far.
WITHIN = (0.15, 0.75)
# Share of the way from the floor to the best return below which a pruned policy has collapsed.
COLLAPSED = 0.2
# Donors that are kept of each member.
KEPT_A_MEMBER = 16
# Gaps that a member looks at before it goes on without.
LOOKED_AT = 4


class GapPBT(ParetoPBT):
    """As `pareto_pbt`, but who gives up sets out anew for the largest gap of the front.

    A member goes on while its schedule runs, unless it has collapsed or is clearly beaten by a policy
    of no more weights and training. Then, or when its schedule has ended and it is among the worst or
    stands still, it starts from one of the best policies that can still come down to a sparsity within
    a gap, at a pace that leaves time to learn; denser policies, and those of a while before, are among
    them. Targets are decided by the front; the study proposes everything else. Where the sparsity isn't
    searched, it is `pareto_pbt`.
    """

    def __init__(
        self, config: ExperimentConfig, archive: Archive, study: Study, snapshots: Register
    ) -> None:
        super().__init__(config, archive, study, snapshots)
        # Depths that members set out for, and env steps that their segments are to take; by member and
        # segment, so that a decision that is taken again after a kill replaces itself.
        self._tried: dict[tuple[int, int], float] = {}
        self._steps: dict[tuple[int, int], int] = {}
        for e in archive.events():
            if e["event"] == "explore" and TARGET in e["hyperparameters"]:
                self._tried[e["member"], e["segment"]] = depth(float(e["hyperparameters"][TARGET]))
            if e["event"] == "start" and e["member"] != DENSE:
                steps = int(e["plan"]["until_env_steps"]) - int(e["env_steps"])
                self._steps[e["member"], e["segment"]] = steps
        parameter = self._space.parameters.get(TARGET)
        self._range = (0.0, 0.0)
        if isinstance(parameter, FloatParameter):
            self._range = depth(parameter.low), depth(parameter.high)
        self._pace = Pace(
            per_decade=THROUGH_THE_RANGE / (self._range[1] or 1.0),
            horizon=self.horizon,
            latest=self.horizon - config.segment_steps,
        )

    @override
    def useless(self, donors: Sequence[Snapshot], before: int) -> list[Snapshot]:
        """Donors that are too far behind for everybody, or not among the best of their member."""
        kept = self._best_of_each_member()
        return [
            s
            for s in donors
            if not BACK * before <= s.env_steps < self.horizon or s.snapshot_id not in kept
        ]

    def _best_of_each_member(self) -> set[str]:
        """Ids of each member's best donors by return, depth and time left."""
        able: dict[int, list[Moment]] = {}
        for m in self._all_moments().values():
            if m.donates:
                able.setdefault(m.member, []).append(m)
        kept = set()
        for own in able.values():
            points = [(m.objectives[0], depth(m.sparsity), -float(m.env_steps)) for m in own]
            order = rank(np.array(points), np.array([m.feasible for m in own]), KEPT_A_MEMBER)
            kept |= {own[i].snapshot_id for i in order}
        return kept

    @override
    def plan(self, member: Member) -> Plan:
        decides = self._range[1] > 0.0 and not member.failures
        plan = self._decide(member) if decides else super().plan(member)
        clock = plan.source.env_steps if plan.source else 0
        self._steps[member.index, member.segment] = self._segment_end(clock) - clock
        return plan

    def _decide(self, member: Member) -> Plan:
        rng = self._generator(member)
        if member.last is None and member.index < self._sizes[0]:
            target = depth(float(self._target_of_newcomer(member, 0.0)[TARGET]))
            return self._planned(None, self._set_out(member, None, target, rng))
        if not self._has_learned():
            return super().plan(member)
        if member.last is not None:
            if not self._gives_up(member):
                return self._planned(member.last, self._study.enter(member.hyperparameters))
            if member.last.sparsity == 0.0 and member.env_steps < self.horizon:
                cut = 0.0 if self.aim.few_enough(member.last.nonzero_params) else STAGNANT_CUT
                return self._planned(
                    member.last, self._explore(member, member.last, rng, fewer=cut)
                )
        found = self._start_and_target(member, rng)
        if found is None:
            return super().plan(member)
        start, target = found
        self._note_copy("exploit", member, start)
        return self._planned(start, self._set_out(member, start, target, rng))

    def _has_learned(self) -> bool:
        """Whether any donor's return is clearly above the floor; before, luck says who is better."""
        return any(
            m.donates and m.objectives[0] - CLEARLY * m.standard_error > self._least_return
            for m in self._all_moments().values()
        )

    @override
    def _growth_clock(self, clocks: Sequence[int]) -> int:
        """The clock at which as much would have been trained if nobody had gone back.

        By what was planned: what a killed search trained twice would change its decisions.
        """
        if not self._range[1]:
            return super()._growth_clock(clocks)
        done = sum(self._steps.values()) // self._config.segment_steps
        segment = int(np.searchsorted(np.cumsum(self._sizes), done, side="right"))
        return segment * self._config.segment_steps

    def _gives_up(self, member: Member) -> bool:
        """Whether a member that has trained leaves what it has."""
        assert member.last is not None, "newcomers have nothing to leave"
        if member.env_steps >= self.horizon:
            return True
        here, donors = self._moment(member.last), self._moments(member)
        feasible = [m for m in donors if m.feasible]
        if here.sparsity > 0.0 and feasible:
            if self._has_collapsed(here, feasible) or beaten(here, feasible):
                return True
            if (
                member.env_steps
                < float(member.hyperparameters.get("pruning.end", 0.0)) * self.horizon
            ):
                return False
        return self._is_stagnant(member) or self._is_among_the_worst(here, donors)

    def _has_collapsed(self, here: Moment, feasible: Sequence[Moment]) -> bool:
        if not here.feasible:
            return True
        best = max(m.objectives[0] - m.standard_error for m in feasible)
        floor = self._least_return
        least = floor + COLLAPSED * (best - floor)
        return math.isfinite(floor) and here.objectives[0] + here.standard_error < least

    def _is_among_the_worst(self, here: Moment, donors: Sequence[Moment]) -> bool:
        """Whether it would copy somebody in `pareto_pbt`, by rank at like progress."""
        others = [m for m in donors if m.member != here.member]
        near = [here, *at_progress(others, here.env_steps, self._rules.progress_tolerance)]
        return among_the_worst(here, near, self._rules.exploit_share)

    def _start_and_target(
        self, member: Member, rng: np.random.Generator
    ) -> tuple[Snapshot, float] | None:
        """Where a member starts from next, and the depth it sets out for; None: nobody gets anywhere."""
        donors = [m for m in self._moments(member) if m.feasible and self._may_start(m, member)]
        if not donors:
            return None
        if member.last is None and all(m.sparsity == 0.0 for m in donors):
            target = depth(float(self._target_of_newcomer(member, 0.0)[TARGET]))
            return self._start_for(target, 0.0, donors, rng)
        if self._config.goal.given and rng.random() < AIMED:
            aimed = self._aimed_target(rng.random())
            target = depth(float(aimed[TARGET])) if aimed else 0.0
            if chosen := self._start_for(target, 0.0, donors, rng):
                return chosen
        found = self._gaps(member)
        key = member.index, member.segment
        tried = [at for who, at in self._tried.items() if who != key]
        for _ in range(min(LOOKED_AT, len(found))):
            gap = choose_gap(found, tried, rng)
            width = gap.high - gap.low
            target = max(self._range[0], gap.low + rng.uniform(*WITHIN) * width)
            if chosen := self._start_for(target, gap.low + WITHIN[0] * width, donors, rng):
                return chosen
            found.remove(gap)
        # There is no time to prune any further; some of the best are trained on as they are.
        deepest = max(depth(m.sparsity) for m in donors)
        start = self._donors[choose_start(donors, deepest, rng).snapshot_id]
        return start, depth(start.sparsity)

    def _start_for(
        self,
        target: float,
        least: float,
        donors: Sequence[Moment],
        rng: np.random.Generator,
    ) -> tuple[Snapshot, float] | None:
        """A start for a depth, or as near to it as anybody comes; None: not as deep as `least`."""
        near = [m for m in donors if depth(m.sparsity) < target]
        reach = {m.snapshot_id: self._pace.reach(m) for m in near}
        target = min(target, max(reach.values(), default=-math.inf))
        if target < least:
            return None
        able = [m for m in donors if reach.get(m.snapshot_id, -math.inf) >= target]
        return self._donors[choose_start(able, target, rng).snapshot_id], target

    def _may_start(self, donor: Moment, member: Member) -> bool:
        """Whether a donor isn't too far behind a member; newcomers have the furthest one's clock."""
        clock = member.env_steps
        if member.last is None:
            known = self._all_moments().values()
            clock = max((m.env_steps for m in known if m.member in self._in_play), default=0)
        return donor.donates and donor.env_steps >= BACK * clock

    def _gaps(self, member: Member) -> list[Gap]:
        """Gaps of the front as the member may know it."""
        known = [
            self._moment(s)
            for s in self._snapshots.held
            if not self._settings.synchronous or s.segment < member.segment
        ]
        feasible = [m for m in known if m.feasible]
        floor = self._least_return
        if not math.isfinite(floor):
            floor = min((m.objectives[0] for m in feasible), default=0.0)
        return gaps(feasible, self._range[1], floor)

    def _set_out(
        self, member: Member, start: Snapshot | None, target: float, rng: np.random.Generator
    ) -> Proposal:
        """New hyperparameters for a lineage that goes down to a depth, no faster than the pace."""
        clock, reached = (start.env_steps, depth(start.sparsity)) if start else (0, 0.0)
        decided = {TARGET: sparsity_at(target)}
        at_least = {"pruning.end": min(1.0, self._pace.ends(clock, reached, target))}
        own = start.hyperparameters if start else None
        if own is None or rng.random() < self._settings.proposal_share:
            kind, reach = "proposal", self._settings.perturbation if own else None
            proposal = self._study.propose(seed_from(rng), at_least, own, reach, decided)
        else:
            kind = "perturbation"
            moved = self._space.perturb(own, self._settings.perturbation, rng)
            proposal = self._study.enter(self._space.clip({**moved, **decided}, at_least))
        self._note_exploration(member, kind, proposal)
        return proposal

    @override
    def _note_exploration(self, member: Member, source: str, proposal: Proposal) -> None:
        super()._note_exploration(member, source, proposal)
        if TARGET in proposal.values:
            self._tried[member.index, member.segment] = depth(float(proposal.values[TARGET]))
