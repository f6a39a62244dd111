"""Defines the settings of `prunefront prune` and its table. Imports neither Ray nor torch."""

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

# Default levels, from sparsities that most networks tolerate to ones that few do.
SPARSITIES = (0.5, 0.75, 0.9, 0.95, 0.98)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """Settings for pruning a checkpoint.

    Attributes:
        checkpoint: Folder of the algorithm's checkpoint.
        pruning: Granularity, scope and other settings shared by all levels; its criterion, final
            sparsity and threshold are not used.
        criterion: One of the criteria of `PruningConfig`; "sensitivity" is measured before pruning.
        sparsities: Levels given as sparsities of the policy path, in [0, 1).
        thresholds: Levels given as thresholds of the score, > 0. `SPARSITIES` if no level is given.
        retrain: Number of training iterations after pruning, with fixed masks.
        gather: Number of training iterations for gathering a criterion's statistics, ≥ 1; the policy
            that they result in is discarded.
        episodes: Number of episodes for selection, and again for the reported figures, ≥ 2.
        seed: Seed that determines episodes and training.
        lr: Learning rate of training; None for the checkpoint's own.

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
        """Name of the run and of its results folder."""
        return f"prune-{self.checkpoint.resolve().name}"

    @property
    def nothing(self) -> PruningConfig:
        """Configuration that prunes nothing and gathers the criterion's statistics."""
        return self._how(()).replace(final_sparsity=0.0, critic_final_sparsity=0.0, threshold=None)

    def levels(self, damage: Any = ()) -> dict[str, PruningConfig]:
        """Returns each level's pruning configuration by its snapshot's id, in ascending order.

        Sparsities come before thresholds.

        Args:
            damage: Measurements for the criterion "sensitivity"; empty otherwise.
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
        """Returns a level's hyperparameters for its snapshot."""
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
        """Returns the settings as plain values, for the results folder."""
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
    """Builds the settings from the command line's options.

    Raises:
        ConfigError: For the same reasons as in `PruneSettings` and `PruningConfig`.
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
    """Formats a table of the return and sparsity of the checkpoint, of every level and of the baselines.

    Args:
        results: Results of `prunefront prune`.

    Returns:
        The table, with lines of at most about 110 characters.
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
