"""When and how far to prune: one pure function, whoever trains the policy.

`decide` reads the configuration, the standing of the schedule, the progress of training and the latest
evaluation, and says what the update that is about to start must do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.schedule.patience import Plateau, advance
from rllib_ext.pruning.schedule.schedules import Ramp, decayed_share, round_shares

Event = Literal["", "held", "pruned", "regrown", "rewound", "rolled_back"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneTarget:
    """The extent to which a network is, or is to be, pruned.

    Attributes:
        sparsity: The policy path's target, in [0, 1); None: only the threshold says.
        critic_sparsity: The target of the weights that only the critic uses.
        threshold: Prune where score < threshold; None: only the sparsity says.
    """

    sparsity: float | None
    critic_sparsity: float
    threshold: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleState:
    """The state of a lineage's schedule; part of every checkpoint and clone.

    Attributes:
        anchor: Progress at which the schedule was changed on the way; None: never.
        sparsity: Sparsity of the policy path at the anchor.
        critic_sparsity: Sparsity of the critic at the anchor.
        threshold: The threshold in force at the anchor.
        plateau: The plateau rule's standing; None under other schedules.
        regrown_at: Progress at the last regrowth; None before the first.
        restarted_at: Progress when the learning rate was last taken up; None: it never was.
    """

    anchor: float | None = None
    sparsity: float = 0.0
    critic_sparsity: float = 0.0
    threshold: float = 0.0
    plateau: Plateau | None = None
    regrown_at: float | None = None
    restarted_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScheduleState:
        """The inverse of `to_dict`."""
        plateau = values["plateau"]
        if plateau is not None:
            plateau = Plateau(**{**plateau, "seen": tuple(plateau["seen"])})
        return cls(**{**values, "plateau": plateau})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What the next update must do before it trains.

    Attributes:
        extent: Extent to which the network is to be pruned.
        prune: Prune to the extent now; False where patience asks that no more goes.
        regrow: Share of the kept weights to exchange, in [0, 1).
        accept: Keep the state as it is now, to come back to.
        roll_back: Return to the accepted state.
        event: Event to report, other than pruned weights: "held" while patience runs, "rolled_back".
    """

    extent: PruneTarget
    prune: bool = True
    regrow: float = 0.0
    accept: bool = False
    roll_back: bool = False
    event: Event = ""


def start(config: PruningConfig, at: ScheduleState | None = None) -> ScheduleState:
    """The standing of a schedule that starts now, from nothing or from where another one was left.

    Args:
        config: The schedule.
        at: Anchor and values that hold now; None: an unpruned network at progress 0.
    """
    standing = at or ScheduleState()
    if config.schedule != "plateau":
        return dataclasses.replace(standing, plateau=None)
    # More than the whole way at once would be tried again unchanged after a roll-back.
    step = min(1.0, config.step / _span(config, standing))
    return dataclasses.replace(standing, plateau=Plateau(step=step))


def anchored(
    config: PruningConfig,
    progress: float,
    donor: PruningConfig,
    donor_standing: ScheduleState,
    env_steps: int,
    *,
    sparsity: float,
    critic_sparsity: float,
) -> ScheduleState:
    """Returns the schedule state of a clone: its own schedule, starting from the donor's progress.

    Args:
        config: The clone's schedule.
        progress: The lineage's clock ÷ the clone's horizon.
        donor: The donor's schedule.
        donor_standing: State of the donor's schedule.
        env_steps: The lineage's clock.
        sparsity: Share of the policy path's weights that are masked now.
        critic_sparsity: The same of the critic.
    """
    before, _ = decide(donor, donor_standing, env_steps / (donor.horizon or 1), None, 0.0)
    restarted = donor_standing.restarted_at
    if restarted is not None:
        restarted *= (donor.horizon or 1) / (config.horizon or 1)
    now = ScheduleState(
        anchor=progress,
        sparsity=sparsity,
        critic_sparsity=critic_sparsity,
        threshold=before.extent.threshold or 0.0,
        restarted_at=restarted,
    )
    return start(config, now)


def decide(
    config: PruningConfig,
    standing: ScheduleState,
    progress: float,
    evaluated_return: float | None,
    random_return: float,
) -> tuple[Decision, ScheduleState]:
    """Decides what the update that is about to start must do.

    Args:
        config: The pruning configuration.
        standing: Current state of the schedule.
        progress: Env steps of the lineage, those of this update's batch included, ÷ horizon.
        evaluated_return: Mean return of the policy as it is now; None without a new evaluation.
            NaN counts as none.
        random_return: Mean return of a policy that acts at random; only "plateau" reads it.

    Returns:
        The decision and the new standing.
    """
    if standing.plateau is None:
        share = _regrow_share(config, standing, progress)
        if share:
            standing = dataclasses.replace(standing, regrown_at=progress)
        return Decision(extent=_extent(config, standing, progress), regrow=share), standing
    fresh = evaluated_return is not None and math.isfinite(evaluated_return)
    if not fresh or progress < config.begin:
        return Decision(extent=_level_extent(config, standing), prune=False), standing
    assert evaluated_return is not None
    action, plateau = advance(
        standing.plateau,
        evaluated_return,
        tolerance=config.tolerance,
        patience=config.patience,
        min_step=config.min_step / _span(config, standing),
        random_return=random_return,
        may_raise=progress <= config.end,
    )
    standing = dataclasses.replace(standing, plateau=plateau)
    decision = Decision(
        extent=_level_extent(config, standing),
        prune=action in ("raise", "retry"),
        accept=action == "raise",
        roll_back=action == "roll_back",
        event=(
            "rolled_back"
            if action == "roll_back"
            else "held"
            if action == "hold" and not plateau.settled
            else ""
        ),
    )
    return decision, standing


def _span(config: PruningConfig, standing: ScheduleState) -> float:
    """Returns what level 1 of the plateau rule adds to its start: sparsity, or a share of the threshold.

    Of the policy path; where that has less than the smallest step to go, of the critic, which the level
    leads too.
    """
    if config.final_sparsity is not None:
        policy = config.final_sparsity - standing.sparsity
    else:
        policy = 1.0 - standing.threshold / config.threshold if config.threshold else 0.0
    critic = config.critic_final_sparsity - standing.critic_sparsity
    return next((span for span in (policy, critic) if span >= config.min_step), config.min_step)


def _regrow_share(config: PruningConfig, standing: ScheduleState, progress: float) -> float:
    if config.regrow is None or not config.begin <= progress < config.end:
        return 0.0
    last = standing.regrown_at
    # A hair less, or 0.3 − 0.2 would not be 0.1.
    if last is not None and progress - last < config.regrow_interval - 1e-9:
        return 0.0
    return decayed_share(
        config.regrow_share, (progress - config.begin) / (config.end - config.begin)
    )


def _extent(config: PruningConfig, standing: ScheduleState, progress: float) -> PruneTarget:
    rounds: tuple[float, ...] = ()
    if config.schedule == "iterative":
        assert config.final_sparsity is not None
        rounds = round_shares(config.round_share, standing.sparsity, config.final_sparsity)

    def value(final: float, start: float) -> float:
        ramp = Ramp(
            config.schedule, config.begin, config.end, final, start, standing.anchor, rounds
        )
        return ramp.at(progress)

    return _extent_from(config, standing, value)


def _level_extent(config: PruningConfig, standing: ScheduleState) -> PruneTarget:
    assert standing.plateau is not None
    level = standing.plateau.level

    def value(final: float, start: float) -> float:
        return start + level * max(0.0, final - start)

    return _extent_from(config, standing, value)


def _extent_from(config: PruningConfig, standing: ScheduleState, value: Any) -> PruneTarget:
    sparsity = config.final_sparsity
    threshold = config.threshold
    return PruneTarget(
        sparsity=None if sparsity is None else value(sparsity, standing.sparsity),
        critic_sparsity=value(config.critic_final_sparsity, standing.critic_sparsity),
        threshold=None if threshold is None else value(threshold, standing.threshold),
    )
