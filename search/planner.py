"""What a member's next segment starts from, and with which hyperparameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import numpy as np

from search.archive import Archive, Snapshot
from search.config import ExperimentConfig
from search.population import Moment, Rules, at_progress, choose_donor, rank, stagnant
from search.seeds import generator_for
from search.space import Values
from search.study import Proposal, Study

# Share of its remaining weights that a stagnant member must set out to lose.
STAGNANT_CUT = 0.2


@dataclasses.dataclass
class Member:
    """Where a member stands between two segments.

    Attributes:
        index: From 0.
        segment: Index of its next segment.
        env_steps: The lineage's clock.
        hyperparameters: What it trained with last; empty before its birth.
        last: Its last snapshot, where it goes on from; None: it is to be born.
        previous: The snapshot that its last segment started from.
        failures: Segments that failed in a row; after one it cannot go on as it is.
    """

    index: int
    segment: int = 0
    env_steps: int = 0
    hyperparameters: Values = dataclasses.field(default_factory=dict)
    last: Snapshot | None = None
    previous: Snapshot | None = None
    failures: int = 0

    def go_on(self, hyperparameters: Values, source: Snapshot | None, last: Snapshot) -> None:
        """A segment ended well: from `source`, with these hyperparameters, at `last`."""
        self.segment += 1
        self.failures = 0
        self.env_steps = last.env_steps
        self.hyperparameters = hyperparameters
        self.previous, self.last = source, last

    def fail(self) -> None:
        """A segment failed."""
        self.segment += 1
        self.failures += 1


class Planner:
    """Exploit and explore, for one member at a time.

    Args:
        config: The experiment.
        archive: Takes the events.
        study: Proposes hyperparameters and hears of all that are used.
    """

    def __init__(self, config: ExperimentConfig, archive: Archive, study: Study) -> None:
        self._settings = config.search
        self._space = config.space
        self._archive = archive
        self._study = study
        self._seed = config.seed
        self._horizon = config.horizon
        self._moments: list[Moment] = []
        self._donors: dict[str, Snapshot] = {}
        self._rules = Rules(
            exploit_share=config.search.exploit_share,
            density_tolerance=config.search.density_tolerance,
            progress_tolerance=config.segment_steps,
        )

    def add(self, snapshot: Snapshot) -> None:
        """Takes a snapshot into account, where it can donate: it has a training state."""
        if not snapshot.usable or not snapshot.state:
            return
        known = snapshot.snapshot_id in self._donors
        self._donors[snapshot.snapshot_id] = snapshot
        # A clone of a policy at the end of its horizon would have nothing left to train.
        ended = snapshot.env_steps >= self._horizon
        moment = dataclasses.replace(_moment(snapshot), donates=not ended)
        if known:
            ids = [m.snapshot_id for m in self._moments]
            self._moments[ids.index(snapshot.snapshot_id)] = moment
        else:
            self._moments.append(moment)

    def forget(self, before: int, needed: Collection[str]) -> list[Snapshot]:
        """Drops donors that no member can reach any more.

        Args:
            before: Clock below which nobody looks for donors.
            needed: Training states that are still started from.

        Returns:
            Snapshots whose training state may go.
        """
        old = [s for s in self._donors.values() if s.env_steps < before and s.state not in needed]
        for snapshot in old:
            del self._donors[snapshot.snapshot_id]
        self._moments = [m for m in self._moments if m.snapshot_id in self._donors]
        return old

    @property
    def can_go_back(self) -> bool:
        """Whether a member at the end of its horizon may train the last segment of it again."""
        return self._settings.strategy == "pareto_pbt" and any(
            m.feasible and m.donates for m in self._moments
        )

    def plan(self, member: Member) -> tuple[Snapshot | None, Proposal]:
        """Decides how a member goes on.

        What is drawn depends on the member and its segment, not on what was drawn before, so that a
        resumed search draws the same.

        Returns:
            The snapshot whose training state its next segment starts from (None: a fresh policy), and
            the hyperparameters that it trains with.
        """
        rng = generator_for(self._seed, "choice", member.index, member.segment)
        if member.failures and self._settings.strategy == "random":
            # Where nobody copies, what failed is drawn anew.
            return None, self._birth(member, rng)
        if member.failures:
            source = self._replacement(member, rng)
        elif member.env_steps >= self._horizon:
            source = self._way_back(rng)
        else:
            source = self._donor(member, rng)
        if source is not None:
            self._note(
                "replacement" if member.failures else "exploit",
                member,
                donor=source.snapshot_id,
                donor_env_steps=source.env_steps,
            )
            return source, self._explore(member, source, rng)
        if member.last is not None and self._is_stagnant(member):
            return member.last, self._explore(member, member.last, rng, fewer=STAGNANT_CUT)
        if member.last is not None:
            return member.last, self._study.enter(member.hyperparameters)
        return None, self._birth(member, rng)

    def _birth(self, member: Member, rng: np.random.Generator) -> Proposal:
        proposal = self._study.propose(_seed(rng))
        self._note_exploration(member, "proposal", proposal)
        return proposal

    def _is_stagnant(self, member: Member) -> bool:
        return (
            self._settings.strategy == "pareto_pbt"
            and member.last is not None
            and member.previous is not None
            and stagnant(_moment(member.previous), _moment(member.last))
        )

    def _explore(
        self, member: Member, donor: Snapshot, rng: np.random.Generator, fewer: float = 0.0
    ) -> Proposal:
        """New hyperparameters for a lineage.

        Args:
            member: Whose segment it will be.
            donor: Where the segment starts.
            rng: Draws them.
            fewer: Share of the remaining weights that the new target must at least remove.
        """
        # What can no longer be undone, and an end that is still ahead: a schedule that has ended
        # would leave the clone at its donor's sparsity for good.
        next_end = (donor.env_steps + self._rules.progress_tolerance) / self._horizon
        target = 1.0 - (1.0 - donor.sparsity) * (1.0 - fewer)
        reached = {"pruning.final_sparsity": target, "pruning.end": min(1.0, next_end)}
        if rng.random() < self._settings.proposal_share:
            kind = "proposal"
            proposal = self._study.propose(_seed(rng), reached, donor.hyperparameters)
        else:
            kind = "perturbation"
            moved = self._space.perturb(donor.hyperparameters, self._settings.perturbation, rng)
            proposal = self._study.enter(self._space.clip(moved, reached))
        self._note_exploration(member, kind, proposal)
        return proposal

    def _donor(self, member: Member, rng: np.random.Generator) -> Snapshot | None:
        if self._settings.strategy != "pareto_pbt" or member.last is None:
            return None
        here = next(m for m in self._moments if m.snapshot_id == member.last.snapshot_id)
        others = [m for m in self._moments if m.member != member.index]
        near = at_progress(others, here.env_steps, self._rules.progress_tolerance)
        donor = choose_donor(here, [here, *near], others, self._rules, rng)
        return None if donor is None else self._donors[donor.snapshot_id]

    def _way_back(self, rng: np.random.Generator) -> Snapshot:
        """One of the best policies that have not yet come to the end of their horizon."""
        able = [m for m in self._moments if m.feasible and m.donates]
        # One is drawn before they are ranked: those behind it need no rank.
        drawn = int(rng.integers(max(1, math.floor(self._rules.exploit_share * len(able)))))
        all_able = np.ones(len(able), dtype=bool)
        best = rank(np.array([m.objectives for m in able]), all_able, drawn + 1)
        return self._donors[able[best[drawn]].snapshot_id]

    def _replacement(self, member: Member, rng: np.random.Generator) -> Snapshot | None:
        """A feasible policy at like progress, or where the member last was whole."""
        able = [m for m in self._moments if m.feasible and m.donates]
        near = at_progress(able, member.env_steps, self._rules.progress_tolerance)
        if not near:
            return member.last
        return self._donors[near[int(rng.integers(len(near)))].snapshot_id]

    def _note_exploration(self, member: Member, source: str, proposal: Proposal) -> None:
        self._note(
            "explore",
            member,
            source=source,
            trial_number=proposal.trial_number,
            hyperparameters=proposal.values,
        )

    def _note(self, event: str, member: Member, **values: Any) -> None:
        self._archive.add_event(
            event,
            member=member.index,
            segment=member.segment,
            env_steps=member.env_steps,
            **values,
        )


def segment_end(config: ExperimentConfig, clock: int) -> int:
    """The next of the horizon's equal parts to end, far enough away to be worth a segment.

    Args:
        config: The experiment.
        clock: Env steps of the lineage where the segment starts.
    """
    steps, horizon = config.segment_steps, config.horizon
    end = (clock // steps + 1) * steps
    if end - clock < steps / 4:
        end += steps
    return horizon if horizon - end < steps / 4 else end


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _moment(snapshot: Snapshot) -> Moment:
    return Moment(
        snapshot_id=snapshot.snapshot_id,
        member=snapshot.member,
        env_steps=snapshot.env_steps,
        objectives=(snapshot.return_mean, snapshot.sparsity),
        sparsity=snapshot.sparsity,
        feasible=snapshot.status == "ok",
        standard_error=snapshot.return_std / math.sqrt(snapshot.episodes),
    )
