"""Multi-objective population-based training with an Optuna study inside: exploit and explore."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from typing_extensions import override

from search.config.experiment import ExperimentConfig
from search.config.parameter import FloatParameter
from search.config.seeds import generator_for
from search.config.settings import MINIMISED
from search.config.space import TARGET, Values
from search.front.aim import AIMED, Aim
from search.population.member import Member
from search.population.register import Register
from search.population.selection import Moment, Rules, at_progress, choose_donor, rank, stagnant
from search.population.strategies.base import Plan, Strategy, objective_values, seed_from
from search.population.study import Proposal, Study
from search.store.archive import Archive, Snapshot

# Share of its remaining weights that a stagnant member must set out to lose.
STAGNANT_CUT = 0.2
# Donors that are kept of the horizon's last segment, for each member.
STARTS_A_MEMBER = 4
# Multiples of it, modulo 1, lie evenly, however many are taken.
GOLDEN_RATIO = (math.sqrt(5.0) - 1.0) / 2.0


class ParetoPBT(Strategy):
    """The worst members copy one of the best by `search.population`, and get new hyperparameters."""

    guided = True
    # Whether members set out for sparsities that lie evenly over the range.
    spreads = True
    # Whether a donor may be denser by any amount.
    copies_denser = False

    def __init__(
        self, config: ExperimentConfig, archive: Archive, study: Study, snapshots: Register
    ) -> None:
        super().__init__(config, archive, study, snapshots)
        self._rules = Rules(
            exploit_share=config.search.exploit_share,
            density_tolerance=math.inf if self.copies_denser else config.search.density_tolerance,
            progress_tolerance=config.segment_steps,
        )
        self._sizes = config.sizes
        # Every decision looks at all donors: what is ranked of each is made once.
        self._donors: Mapping[str, Snapshot] = {}
        self._donor_moments: dict[str, Moment] = {}
        # Members that aren't given up, as last heard.
        self._in_play: set[int] = set()

    @override
    def require(self, least_return: float) -> None:
        super().require(least_return)
        self._donors, self._donor_moments = {}, {}

    @override
    def aim_at(self, aim: Aim) -> None:
        super().aim_at(aim)
        self._donors, self._donor_moments = {}, {}

    @override
    def useless(self, donors: Sequence[Snapshot], before: int) -> list[Snapshot]:
        """Donors whom nobody starts from; of starts of the horizon's last segment only the best stay."""
        old = super().useless(donors, before)
        gone = {s.snapshot_id for s in old}
        left = [m for name, m in self._all_moments().items() if name not in gone]
        free = {s.snapshot_id for s in donors}
        return old + self._worst_starts([m for m in self._ranked(left) if m.snapshot_id in free])

    def _worst_starts(self, moments: Sequence[Moment]) -> list[Snapshot]:
        """The worst of the last segment's donors: whoever restarts there makes more and more."""
        last = [m for m in moments if m.env_steps >= self.horizon - self._config.segment_steps]
        most = STARTS_A_MEMBER * self._config.population.members
        if len(last) <= most:
            return []
        starts = {m.snapshot_id for m in self._starts(last)}
        able = np.array([m.snapshot_id in starts for m in last])
        kept = set(rank(np.array([m.objectives for m in last]), able, most))
        return [self._donors[m.snapshot_id] for i, m in enumerate(last) if i not in kept]

    def next_member(
        self, idle: Sequence[Member], running: Sequence[Member], left: int
    ) -> Member | None:
        """The member that `Strategy.next_member` would choose, of those that have begun.

        Others begin only while the population is large enough for them. Where members wait for each
        other, none is a segment ahead.
        """
        idle = self._admitted(idle, running)
        if self._settings.synchronous:
            waited_for = (*running, *self._unfinished(idle))
            generation = min((m.segment for m in waited_for), default=None)
            idle = [m for m in idle if generation is None or m.segment <= generation]
        return super().next_member(idle, running, left)

    @override
    def plan(self, member: Member) -> Plan:
        rng = self._generator(member)
        source = self._source(member, rng)
        if source is not None:
            self._note_copy("replacement" if member.failures else "exploit", member, source)
            return self._planned(source, self._explore(member, source, rng))
        if member.last is None:
            return self._planned(None, self._birth(member, rng))
        if self._is_stagnant(member):
            enough = self.aim.few_enough(member.last.nonzero_params)
            explored = self._explore(
                member, member.last, rng, fewer=0.0 if enough else STAGNANT_CUT
            )
            return self._planned(member.last, explored)
        return self._planned(member.last, self._study.enter(member.hyperparameters))

    def _admitted(self, idle: Sequence[Member], running: Sequence[Member]) -> Sequence[Member]:
        """The next to begin, where the population is to grow, otherwise all that have begun."""
        self._in_play = {m.index for m in (*idle, *running)}
        begun = [m for m in idle if m.segment > 0]
        clocks = [m.env_steps for m in (*begun, *running)]
        segment = self._growth_clock(clocks) // self._config.segment_steps
        segment = min(segment, len(self._sizes) - 1)
        waiting = [m for m in idle if m.segment == 0]
        return waiting[:1] if len(clocks) < self._sizes[segment] and waiting else begun

    def _growth_clock(self, clocks: Sequence[int]) -> int:
        """The clock that says how many members train, of those of all that have begun."""
        return min((c for c in clocks if c < self.horizon), default=max(clocks, default=0))

    def _restarting(self, idle: Sequence[Member]) -> list[Member]:
        """Returns members that may spend the budget left by those that copied a donor ahead of them.

        They train the last segment of the horizon again, from the best before it.
        """
        return [m for m in idle if any(d.donates for d in self._known_to(m))]

    def _starts(self, moments: Sequence[Moment]) -> list[Moment]:
        """Returns moments a finished member may restart from: in the last segment's first half.

        Later, the most trained would be cloned for an iteration each. Where there is nobody, those
        before it, or the furthest behind.
        """
        able = self._able(moments)
        last = [m for m in able if m.env_steps >= self.horizon - self._config.segment_steps] or able
        furthest_behind = min((m.env_steps for m in last), default=0)
        latest = max(furthest_behind, self.horizon - self._config.segment_steps // 2)
        return [m for m in last if m.env_steps <= latest]

    def _able(self, moments: Sequence[Moment]) -> list[Moment]:
        """Returns feasible moments that can be started from; if there are none, infeasible ones."""
        donating = [m for m in moments if m.donates]
        better = [m for m in donating if self._donors[m.snapshot_id].status == "ok"]
        return [m for m in donating if m.feasible] or better or donating

    def _turn(self, member: Member) -> tuple[int, ...]:
        if member.env_steps >= self.horizon:
            return (member.segment, member.index)
        return super()._turn(member)

    def _source(self, member: Member, rng: np.random.Generator) -> Snapshot | None:
        """Whom the member copies; None: nobody."""
        moments = self._moments(member)
        if member.failures:
            return self._replacement(member, moments, rng)
        if member.last is None:
            return self._model(member, moments, rng)
        if member.env_steps >= self.horizon:
            return self._best(self._starts(moments), rng)
        return self._donor(member, moments, rng)

    def _is_stagnant(self, member: Member) -> bool:
        return (
            member.last is not None
            and member.previous is not None
            and stagnant(self._moment(member.previous), self._moment(member.last))
        )

    def _explore(
        self, member: Member, donor: Snapshot, rng: np.random.Generator, fewer: float = 0.0
    ) -> Proposal:
        """New hyperparameters for a lineage.

        Args:
            member: Member that the segment is for.
            donor: Moment that the segment starts from.
            rng: Draws them.
            fewer: Share of the remaining weights that the new target must at least remove.
        """
        # What can no longer be undone, and an end that is still ahead: a schedule that has ended
        # would leave the clone at its donor's sparsity for good.
        next_end = (donor.env_steps + self._rules.progress_tolerance) / self.horizon
        target = 1.0 - (1.0 - donor.sparsity) * (1.0 - fewer)
        reached = {TARGET: target, "pruning.end": min(1.0, next_end)}
        decided = self._target_of_newcomer(member, donor.sparsity)
        if self._config.goal.given and not decided and rng.random() < AIMED:
            decided = self._aimed_target(rng.random(), target)
        if rng.random() < self._settings.proposal_share:
            kind = "proposal"
            reach = self._settings.perturbation if self.guided else None
            proposal = self._study.propose(
                seed_from(rng), reached, donor.hyperparameters, reach, decided
            )
        else:
            kind = "perturbation"
            moved: Values = self._space.perturb(
                donor.hyperparameters, self._settings.perturbation, rng
            )
            proposal = self._study.enter(self._space.clip({**moved, **decided}, reached))
        self._note_exploration(member, kind, proposal)
        return proposal

    def _birth(self, member: Member, rng: np.random.Generator) -> Proposal:
        decided = self._target_of_newcomer(member, 0.0)
        proposal = self._study.propose(seed_from(rng), decided=decided)
        self._note_exploration(member, "proposal", proposal)
        return proposal

    def _target_of_newcomer(self, member: Member, reached: float) -> Values:
        """Returns the target of a member that hasn't trained yet; empty for others.

        Targets that are drawn one by one leave gaps, and all copies inherit what is near. These are an
        additive recurrence of the golden ratio, evenly spread above what its donor has reached; with a
        goal the first `AIMED` of its values over what is aimed at, the others over all.
        """
        parameter = self._space.parameters.get(TARGET)
        if not self.spreads or member.last is not None or not isinstance(parameter, FloatParameter):
            return {}
        first = generator_for(self._config.seed, "choice").random()
        share = (first + member.index * GOLDEN_RATIO) % 1.0
        if aimed := self._aimed_target(min(1.0, share / AIMED), reached):
            if share < AIMED:
                return aimed
            share = (share - AIMED) / (1.0 - AIMED)
        return {TARGET: parameter.at(share, reached)}

    def _donor(
        self, member: Member, moments: Sequence[Moment], rng: np.random.Generator
    ) -> Snapshot | None:
        assert member.last is not None, "newcomers are told apart"
        here = next(m for m in moments if m.snapshot_id == member.last.snapshot_id)
        others = [m for m in moments if m.member != member.index]
        near = at_progress(others, here.env_steps, self._rules.progress_tolerance)
        donor = choose_donor(here, [here, *near], others, self._rules, rng)
        return None if donor is None else self._donors[donor.snapshot_id]

    def _model(
        self, newcomer: Member, moments: Sequence[Moment], rng: np.random.Generator
    ) -> Snapshot | None:
        """Whom a member copies that has not yet trained: one of the best where the slowest are.

        None: nobody, for it is a founder, or there is nothing to copy.
        """
        clocks = {m.member: m.env_steps for m in moments if m.member in self._in_play}
        if newcomer.index < self._sizes[0] or not clocks:
            return None
        near = [
            m
            for m in moments
            if m.donates
            and abs(m.env_steps - min(clocks.values())) <= self._rules.progress_tolerance
        ]
        return self._best([m for m in near if m.feasible] or near, rng) if near else None

    def _best(self, able: Sequence[Moment], rng: np.random.Generator) -> Snapshot:
        """One of the best of some moments."""
        # One is drawn before they are ranked: those behind it need no rank.
        drawn = int(rng.integers(max(1, math.floor(self._rules.exploit_share * len(able)))))
        all_alike = np.ones(len(able), dtype=bool)
        best = rank(np.array([m.objectives for m in able]), all_alike, drawn + 1)
        return self._donors[able[best[drawn]].snapshot_id]

    def _replacement(
        self, member: Member, moments: Sequence[Moment], rng: np.random.Generator
    ) -> Snapshot | None:
        """A feasible policy at like progress, or where the member last was whole."""
        able = [m for m in moments if m.feasible and m.donates]
        near = at_progress(able, member.env_steps, self._rules.progress_tolerance)
        if not near:
            return member.last
        return self._donors[near[int(rng.integers(len(near)))].snapshot_id]

    def _moments(self, member: Member | None = None) -> list[Moment]:
        """Returns moments that may be ranked, oldest first; for a member those that it may know."""
        known = self._all_moments().values() if member is None else self._known_to(member)
        return self._ranked(list(known))

    def _ranked(self, moments: list[Moment]) -> list[Moment]:
        """Moments with the objectives by which they are ranked among each other."""
        return moments

    def _all_moments(self) -> Mapping[str, Moment]:
        """The moment of each donor, by its snapshot's id, in the donors' order."""
        donors, before = self._snapshots.donors, self._donors
        if donors is not before:
            known = self._donor_moments
            self._donor_moments = {
                name: known[name] if before.get(name) is s else self._moment(s)
                for name, s in donors.items()
            }
            self._donors = donors
        return self._donor_moments

    def _known_to(self, member: Member) -> Iterator[Moment]:
        """Moments that a member may decide on: in a synchronous search, those of earlier segments."""
        for name, moment in self._all_moments().items():
            if not self._settings.synchronous or self._donors[name].segment < member.segment:
                yield moment

    def _moment(self, snapshot: Snapshot) -> Moment:
        mean, sparsity = self.aim.capped(
            snapshot.return_mean, snapshot.sparsity, snapshot.total_params
        )
        counted = dataclasses.replace(snapshot, return_mean=mean, sparsity=sparsity)
        signs = dict.fromkeys(MINIMISED, -1.0)
        return Moment(
            snapshot_id=snapshot.snapshot_id,
            member=snapshot.member,
            env_steps=snapshot.env_steps,
            objectives=objective_values(counted, self._settings.objectives, signs=signs),
            sparsity=sparsity,
            feasible=snapshot.status == "ok" and snapshot.return_mean >= self._least_return,
            # A clone of a policy at the end of its horizon would have nothing left to train.
            donates=snapshot.env_steps < self.horizon,
            standard_error=snapshot.return_std / math.sqrt(snapshot.episodes),
        )
