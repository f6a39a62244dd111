"""The base of strategies, which decide who trains next, from where, with which hyperparameters."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rllib_ext.pruning.config import PruningConfig
from search.config.experiment import ExperimentConfig
from search.config.parameter import FloatParameter
from search.config.seeds import generator_for
from search.config.space import TARGET, Values
from search.front.aim import AIMED, Aim
from search.population.member import Member, segment_end
from search.population.register import Register
from search.population.study import Proposal, Study
from search.store.archive import Archive, Snapshot


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan for a member's next segment.

    Attributes:
        source: The snapshot whose training state its next segment starts from; None: a fresh policy.
        proposal: The hyperparameters that it trains with.
        pruning: Pruning configuration.
        horizon: Clock beyond which the segment must not go.
    """

    source: Snapshot | None
    proposal: Proposal
    pruning: PruningConfig
    horizon: int


class Strategy(abc.ABC):
    """Decides for one member at a time; a decision is logged as an event before it is carried out.

    What is drawn depends on the member and its segment, not on what was drawn before, so that a resumed
    search draws the same.

    Attributes:
        guided: Whether the study's sampler learns from its trials.
        horizon: End of a lineage's clock, in env steps.
        aim: The goal, and what is known of where it lies.

    Args:
        config: The experiment.
        archive: Archive that the events are added to.
        study: Proposes hyperparameters and hears of all that are used.
        snapshots: Register of snapshots, which knows those that can be copied.
    """

    guided: ClassVar[bool] = False

    def __init__(
        self, config: ExperimentConfig, archive: Archive, study: Study, snapshots: Register
    ) -> None:
        self.horizon = self.horizon_of(config)
        self._config = config
        self._settings = config.search
        self._space = config.space
        self._archive = archive
        self._study = study
        self._snapshots = snapshots
        self._least_return = -math.inf
        self.aim = Aim(config.goal)

    @classmethod
    def horizon_of(cls, config: ExperimentConfig) -> int:
        """Returns the end of a lineage's clock, in env steps."""
        return config.horizon

    @classmethod
    def startup_trials(cls, config: ExperimentConfig) -> int:
        """Trials that are drawn at random before the sampler's model is asked."""
        return config.population.members

    def require(self, least_return: float) -> None:
        """Lets all below a mean return rank last."""
        self._least_return = least_return

    def aim_at(self, aim: Aim) -> None:
        """Lets the search aim at its goal by what is now known."""
        self.aim = aim

    def useless(self, donors: Sequence[Snapshot], before: int) -> list[Snapshot]:
        """Donors that no member can start from any more: their training state may go.

        Args:
            donors: Those that nobody needs in particular.
            before: Clock below which nobody looks for donors; at the horizon nobody does either.
        """
        return [s for s in donors if not before <= s.env_steps < self.horizon]

    def next_member(
        self, idle: Sequence[Member], running: Sequence[Member], left: int
    ) -> Member | None:
        """Returns the member that trains next; None if none does now.

        Args:
            idle: Members that could.
            running: Members in training.
            left: Env steps that are left of the budget when their segments have ended.
        """
        able = self._unfinished(idle)
        if not able:
            # Those in training go on to their horizon.
            reserved = sum(self.horizon - self._segment_end(m.env_steps) for m in running)
            able = self._restarting(idle) if left > reserved else []
        return min(able, key=self._turn, default=None)

    def ends_trial(self, last: Snapshot) -> bool:
        """Whether a segment that ended at a snapshot ends its trial of the study."""
        return True

    @abc.abstractmethod
    def plan(self, member: Member) -> Plan:
        """Decides how a member goes on."""

    def _unfinished(self, members: Sequence[Member]) -> list[Member]:
        return [m for m in members if m.env_steps < self.horizon]

    def _segment_end(self, clock: int) -> int:
        return segment_end(self._config.segment_steps, self.horizon, clock)

    def _restarting(self, idle: Sequence[Member]) -> list[Member]:
        """Members at their horizon that may begin again with what is left of the budget."""
        return list(idle)

    def _turn(self, member: Member) -> tuple[int, ...]:
        """The smallest goes first: whoever is furthest behind, so that progress stays alike."""
        return (member.env_steps, member.segment, member.index)

    def _generator(self, member: Member) -> np.random.Generator:
        return generator_for(self._config.seed, "choice", member.index, member.segment)

    def _aimed_target(self, share: float, reached: float = 0.0) -> Values:
        """A final sparsity that the goal asks for; nothing without a goal that can be aimed at.

        Args:
            share: Position in the range that is aimed at, in [0, 1].
            reached: The sparsity that can no longer be undone.
        """
        parameter = self._space.parameters.get(TARGET)
        if not self._config.goal.given or not isinstance(parameter, FloatParameter):
            return {}
        aimed = self.aim.sparsities(list(self._snapshots.donors.values()))
        if aimed is None:
            return {}
        low, high = aimed
        return {TARGET: parameter.at(share, max(low, reached), high)}

    def _birth(self, member: Member, rng: np.random.Generator) -> Proposal:
        aimed = {}
        if self._config.goal.given and rng.random() < AIMED:
            aimed = self._aimed_target(rng.random())
        proposal = self._study.propose(seed_from(rng), decided=aimed)
        self._note_exploration(member, "proposal", proposal)
        return proposal

    def _planned(self, source: Snapshot | None, proposal: Proposal) -> Plan:
        pruning = self._config.pruning_with(proposal.values)
        return Plan(source, proposal, pruning, self.horizon)

    def _note_exploration(self, member: Member, source: str, proposal: Proposal) -> None:
        self._note(
            "explore",
            member,
            source=source,
            trial_number=proposal.trial_number,
            hyperparameters=proposal.values,
        )

    def _note_copy(self, event: str, member: Member, donor: Snapshot) -> None:
        self._note(event, member, donor=donor.snapshot_id, donor_env_steps=donor.env_steps)

    def _note(self, event: str, member: Member, **values: Any) -> None:
        # The start of the segment follows.
        self._archive.note(
            event, member=member.index, segment=member.segment, env_steps=member.env_steps, **values
        )


def seed_from(rng: np.random.Generator) -> int:
    """A seed for one who draws by themselves."""
    return int(rng.integers(2**31))


def objective_values(
    snapshot: Snapshot, names: Sequence[str], *, signs: Mapping[str, float] | None = None
) -> tuple[float, ...]:
    """A snapshot's objectives.

    Args:
        snapshot: The snapshot.
        names: Objectives, as `SearchSettings.objectives` names them.
        signs: −1 by the name of what is to be turned round.
    """
    given = {"return": snapshot.return_mean, "sparsity": snapshot.sparsity, **snapshot.objectives}
    return tuple((signs or {}).get(name, 1.0) * given[name] for name in names)
