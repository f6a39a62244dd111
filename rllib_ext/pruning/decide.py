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
from rllib_ext.pruning.patience import Plateau, advance
from rllib_ext.pruning.schedules import Ramp

Event = Literal["", "held", "pruned", "rolled_back"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """How far a network is, or is to be, pruned.

    Attributes:
        sparsity: Of the policy path, in [0, 1); None: only the threshold says.
        critic_sparsity: Of the weights that only the critic uses.
        threshold: Prune where score < threshold; None: only the sparsity says.
    """

    sparsity: float | None
    critic_sparsity: float
    threshold: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a lineage's schedule stands; it travels with every checkpoint and clone.

    Attributes:
        anchor: Progress at which the schedule was changed on the way; None: never.
        sparsity: Sparsity of the policy path at the anchor.
        critic_sparsity: Sparsity of the critic at the anchor.
        threshold: The threshold in force at the anchor.
        plateau: The plateau rule's standing; None under other schedules.
    """

    anchor: float | None = None
    sparsity: float = 0.0
    critic_sparsity: float = 0.0
    threshold: float = 0.0
    plateau: Plateau | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Standing:
        """The inverse of `to_dict`."""
        plateau = values["plateau"]
        if plateau is not None:
            plateau = Plateau(**{**plateau, "reference": tuple(plateau["reference"])})
        return cls(**{**values, "plateau": plateau})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What the next update must do before it trains.

    Attributes:
        extent: Prune this far.
        accept: Keep the state as it is now, to come back to.
        roll_back: Return to the accepted state.
        event: What to report, apart from weights that go: "held" while patience runs, "rolled_back".
    """

    extent: Extent
    accept: bool = False
    roll_back: bool = False
    event: Event = ""


def start(config: PruningConfig, at: Standing | None = None) -> Standing:
    """The standing of a schedule that starts now, from nothing or from where another one was left.

    Args:
        config: The schedule.
        at: Anchor and values that hold now; None: an unpruned network at progress 0.
    """
    standing = at or Standing()
    if config.schedule != "plateau":
        return dataclasses.replace(standing, plateau=None)
    step = config.step if config.final_sparsity is None else config.step / config.final_sparsity
    return dataclasses.replace(standing, plateau=Plateau(step=step))


def decide(
    config: PruningConfig,
    standing: Standing,
    progress: float,
    evaluated_return: float | None,
    random_return: float,
) -> tuple[Decision, Standing]:
    """Says what the update that is about to start must do.

    Args:
        config: What to prune, how far, and when.
        standing: Where the schedule stands.
        progress: Env steps of the lineage, those of this update's batch included, ÷ horizon.
        evaluated_return: Mean return of the policy as it is now; None without a new evaluation.
            NaN counts as none.
        random_return: Mean return of a policy that acts at random; only "plateau" reads it.

    Returns:
        The decision and the new standing.
    """
    if standing.plateau is None:
        return Decision(extent=_extent(config, standing, progress)), standing
    fresh = evaluated_return is not None and math.isfinite(evaluated_return)
    if not fresh or not config.begin <= progress or _too_late_to_raise(config, standing, progress):
        return Decision(extent=_level_extent(config, standing)), standing
    assert evaluated_return is not None
    action, plateau = advance(
        standing.plateau,
        evaluated_return,
        tolerance=config.tolerance,
        patience=config.patience,
        min_step=_min_level_step(config),
        random_return=random_return,
    )
    standing = dataclasses.replace(standing, plateau=plateau)
    decision = Decision(
        extent=_level_extent(config, standing),
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


def _too_late_to_raise(config: PruningConfig, standing: Standing, progress: float) -> bool:
    """After `end` a level that is accepted stays; one that is on trial is still judged."""
    return progress > config.end and standing.plateau is not None and standing.plateau.settled


def _min_level_step(config: PruningConfig) -> float:
    scale = 1.0 if config.final_sparsity is None else config.final_sparsity
    return config.min_step / scale


def _extent(config: PruningConfig, standing: Standing, progress: float) -> Extent:
    def value(final: float, start: float) -> float:
        ramp = Ramp(config.schedule, config.begin, config.end, final, start, standing.anchor)
        return ramp.at(progress)

    return _extent_from(config, standing, value)


def _level_extent(config: PruningConfig, standing: Standing) -> Extent:
    assert standing.plateau is not None
    level = standing.plateau.level

    def value(final: float, start: float) -> float:
        return start + level * max(0.0, final - start)

    return _extent_from(config, standing, value)


def _extent_from(config: PruningConfig, standing: Standing, value: Any) -> Extent:
    sparsity = config.final_sparsity
    threshold = config.threshold
    return Extent(
        sparsity=None if sparsity is None else value(sparsity, standing.sparsity),
        critic_sparsity=value(config.critic_final_sparsity, standing.critic_sparsity),
        threshold=None if threshold is None else value(threshold, standing.threshold),
    )
