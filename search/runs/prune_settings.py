"""What `prunefront prune` is asked to do, and its table. Imports neither Ray nor torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from search.front.format import marks, number, percent, share, span
from search.front.results import Results
from search.front.text_table import text_table
from search.store.archive import Hyperparameter

# Unless levels are given: what most networks bear, what some do, what few do.
SPARSITIES = (0.5, 0.75, 0.9, 0.95, 0.98)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """How a checkpoint is pruned.

    Attributes:
        checkpoint: The algorithm's checkpoint.
        pruning: Granularity, scope and what else holds for all levels; criterion and how far are not
            read.
        criterion: One of `PruningConfig`'s; "sensitivity" is measured before pruning.
        sparsities: Levels that are sparsities of the policy path, in [0, 1).
        thresholds: Levels that are thresholds of the score, > 0. Without any level: `SPARSITIES`.
        retrain: Training iterations after pruning, with masks held.
        gather: Training iterations over which a criterion's statistics are gathered, ≥ 1; the policy
            that they lead to is thrown away.
        episodes: Episodes that choose, and as many again that give the figures, ≥ 2.
        seed: Fixes episodes and training.
        lr: Learning rate of training; None: the checkpoint's own.

    Raises:
        ConfigError: A value is out of its range, or values contradict each other.
    """

    checkpoint: Path
    pruning: PruningConfig
    criterion: str = "magnitude"
    sparsities: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    retrain: int = 0
    gather: int = 1
    episodes: int = 100
    seed: int = 0
    lr: float | None = None

    def __post_init__(self) -> None:
        if not self.sparsities and not self.thresholds:
            object.__setattr__(self, "sparsities", SPARSITIES)
        least = {"retrain": 0, "gather": 1, "episodes": 2, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected {low} or more.")
        for name, values in {
            "lr": () if self.lr is None else (self.lr,),
            "threshold": self.thresholds,
        }.items():
            if wrong := [value for value in values if not 0.0 < value < math.inf]:
                raise ConfigError(f"{name} = {wrong[0]}; expected a finite number above 0.")
        if self.criterion == "sensitivity" and self.pruning.critic_final_sparsity > 0.0:
            raise ConfigError(
                "criterion = 'sensitivity' is measured on the policy path, so it cannot rank the "
                "critic's weights. Leave the critic dense, or take another criterion."
            )
        self.levels()

    @property
    def name(self) -> str:
        """Names the results folder."""
        return f"prune-{self.checkpoint.resolve().name}"

    @property
    def nothing(self) -> PruningConfig:
        """Prunes nothing, and gathers what the criterion reads."""
        return self._how(()).replace(final_sparsity=0.0, critic_final_sparsity=0.0, threshold=None)

    def levels(self, damage: Any = ()) -> dict[str, PruningConfig]:
        """How each level is pruned, by the id of its snapshot, by rising sparsity or threshold.

        Args:
            damage: What was measured for the criterion "sensitivity".
        """
        how = self._how(damage)
        sparsities = {
            f"sparsity-{s:.12g}": how.replace(final_sparsity=s, threshold=None)
            for s in sorted(set(self.sparsities))
        }
        thresholds = {
            f"threshold-{t:.12g}": how.replace(final_sparsity=None, threshold=t)
            for t in sorted(set(self.thresholds))
        }
        return sparsities | thresholds

    def hyperparameters(self, pruning: PruningConfig) -> dict[str, Hyperparameter]:
        """What a level was made with, for its snapshot."""
        how = {
            "pruning.criterion": pruning.criterion,
            "pruning.granularity": pruning.granularity,
            "pruning.scope": pruning.scope,
            "pruning.final_sparsity": pruning.final_sparsity,
            "pruning.threshold": pruning.threshold,
            "pruning.critic_final_sparsity": pruning.critic_final_sparsity,
            "training.lr": self.lr,
            "retrain": self.retrain,
        }
        return {key: value for key, value in how.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the results folder."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        common = ("critic_final_sparsity", "threshold_unit", "granularity", "scope", "exclude")
        pruning = {name: getattr(self.pruning, name) for name in common}
        return {**values, "checkpoint": str(self.checkpoint.resolve()), "pruning": pruning}

    def _how(self, damage: Any) -> PruningConfig:
        if self.criterion == "sensitivity" and not damage:
            return self.pruning
        changes: dict[str, Any] = {"criterion": self.criterion, "damage": damage}
        return self.pruning.replace(**changes)


def settings_from(
    checkpoint: Path,
    *,
    sparsity: Sequence[float],
    threshold: Sequence[float],
    critic_sparsity: float,
    threshold_unit: Any,
    granularity: Any,
    scope: Any,
    exclude: Sequence[str],
    **others: Any,
) -> PruneSettings:
    """The settings that the command line's options give.

    Raises:
        ConfigError: As `PruneSettings` and `PruningConfig`.
    """
    pruning = PruningConfig(
        critic_final_sparsity=critic_sparsity,
        threshold_unit=threshold_unit,
        granularity=granularity,
        scope=scope,
        exclude=tuple(exclude),
    )
    return PruneSettings(
        checkpoint=checkpoint,
        pruning=pruning,
        sparsities=tuple(sparsity),
        thresholds=tuple(threshold),
        **others,
    )


def levels_table(results: Results) -> str:
    """Every level's return and sparsity beside the checkpoint as it was, and how they were measured.

    Args:
        results: What `prunefront prune` wrote.

    Returns:
        Lines of about 110 characters at most.
    """
    front = results.confirmed
    before = {s.snapshot_id: s.objectives.get("return_before_retraining") for s in results.records}
    retrained = any(value is not None for value in before.values())
    middle = (">as pruned", ">retrained") if retrained else (">return",)
    columns = ("<", ">sparsity", ">weights", *middle, "<95 % interval", ">retained", "<")
    order = {s.snapshot_id: i for i, s in enumerate(results.records)}
    rows = front.candidates.to_dict("records")
    rows.sort(key=lambda row: order[row["snapshot_id"]])
    dense = front.baselines[front.baselines["name"] == "dense"].to_dict("records")
    cells: list[tuple[str, ...]] = []
    for row in [*dense, *rows]:
        name = str(row.get("snapshot_id") or row["name"])
        cells.append(
            (
                name,
                percent(row["sparsity"]),
                f"{int(row['nonzero_params']):,}",
                *([number(before.get(name))] if retrained else []),
                number(row["return_mean"]),
                span(row["return_ci_low"], row["return_ci_high"]) or "no variance",
                share(row["retained"]),
                marks(row) if row.get("member", True) else "not on the front",
            )
        )
    cells += [
        (row["name"], "", "", *([""] if retrained else []), number(row["return_mean"]))
        for row in front.baselines.to_dict("records")
        if row["name"] != "dense"
    ]
    return "\n".join(text_table(columns, cells))
