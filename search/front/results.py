"""Results of a search, read from its folder for Python, notebooks and reports. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rllib_ext.pruning.errors import ResultsError
from search.config.goal import GoalSettings
from search.front.confirmed_front import UNCONFIRMED, Front, confirm
from search.front.generalisation import generalisation_of
from search.front.goal import goal_of
from search.front.hypervolume_curve import hypervolume_points
from search.front.importance import Importance, importance
from search.front.membership import KEEPS, choose
from search.front.recipe_check import recipe_table
from search.front.recorded import plain_values
from search.front.weak_dense import dense_is_weak
from search.store import tables
from search.store.archive import CANDIDATES, Baseline, Evaluation, Snapshot
from search.store.folder import FINISHED, PAGE, PRUNED
from search.store.losses import doubts

if TYPE_CHECKING:
    from rllib_ext.export.numpy_loader import Policy

# Folder of the exported points; their forms, each in its own folder; the names of picked points.
EXPORT = "export"
FORMS = ("numpy", "onnx", "c", "torch")
PICKS = ("goal", *KEEPS, "knee")
# Tables that are only written if they aren't empty.
OPTIONAL = ("shift", "retrain")


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """The results of one search; tables are computed on first access.

    Attributes:
        folder: The results folder.
        config: Text of `config.yaml`, the resolved configuration; empty if the file is missing.
        manifest: Contents of `manifest.json`; empty if the file is missing.
        records: Snapshots of the archive in the order they were made.
        evaluations: Evaluations with fresh episodes.
        baseline_records: Baselines by name.
        events: Events of the archive in the order they happened.
        losses: Records that the folder has lost, one clause per loss.
    """

    folder: Path
    config: str
    manifest: dict[str, Any]
    records: list[Snapshot]
    evaluations: list[Evaluation]
    baseline_records: dict[str, Baseline]
    events: list[dict[str, Any]]
    losses: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """Path of the report once it is written."""
        return self.folder / PAGE

    @property
    def name(self) -> str:
        """Name of the search."""
        return str(self.manifest.get("name") or self.folder.resolve().name)

    @cached_property
    def goal(self) -> GoalSettings:
        """Goal of the search; a goal without limits if the search had none."""
        return goal_of(plain_values(self.config))

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per front point with membership and picks, without figures, which take a while."""
        return self._chosen[self._chosen["member"]].reset_index(drop=True)

    @cached_property
    def confirmed(self) -> Front:
        """The front with its baselines, scale and notes; its table is empty if there is no front yet."""
        seed = self.manifest.get("seed")
        rng = np.random.default_rng(seed if isinstance(seed, int) and seed >= 0 else 0)
        rated = {e.snapshot_id for e in self.evaluations}
        folders = {s.snapshot_id: s.checkpoint for s in self.records if s.snapshot_id in rated}
        folders |= {name: b.checkpoint for name, b in self.baseline_records.items()}
        metadata = {key: self.metadata(checkpoint) for key, checkpoint in folders.items()}
        front = confirm(
            self.records,
            self.evaluations,
            self.baseline_records,
            rng,
            metadata,
            candidates=self._candidates,
            unfinished="" if self.pruned else self.unfinished,
            goal=self.goal,
        )
        policies = dict(front.table[["snapshot_id", "policy"]].to_numpy(str))
        notes = doubts(self.folder, self.manifest, self.config, self.losses, policies)
        return dataclasses.replace(front, notes=(*notes, *front.notes))

    @property
    def policies_gone(self) -> bool:
        """Whether the policy of any front point is no longer on disk."""
        return bool((self.points["policy"] == "").any())

    @property
    def unfinished(self) -> str:
        """Status of a search that has not ended, such as "interrupted"; empty if it has ended."""
        status = str(self.manifest.get("status", FINISHED))
        return "" if status == FINISHED else status

    @property
    def pruned(self) -> bool:
        """Whether `prunefront prune` wrote the folder, so that there is no search to resume."""
        return self.manifest.get("strategy") == PRUNED

    @property
    def has_front(self) -> bool:
        """Whether policies were re-evaluated, or no policy qualified for re-evaluation."""
        chosen = self._candidates
        played = {e.snapshot_id for e in self.evaluations if e.purpose == "selection"}
        return bool(len(self._chosen)) or (chosen is not None and played.issuperset(chosen))

    def require_front(self) -> None:
        """Checks that there is a front.

        Raises:
            ResultsError: No policy was re-evaluated yet.
        """
        if not self.has_front:
            raise ResultsError(f"{self.folder}: {UNCONFIRMED}.")

    @cached_property
    def front(self) -> pd.DataFrame:
        """One row per front point, with the columns of `front.csv`.

        Raises:
            ResultsError: No policy was re-evaluated yet.
        """
        self.require_front()
        return self.confirmed.table

    @cached_property
    def dense_is_weak(self) -> bool:
        """Whether the best front point is far and significantly above the dense baseline."""
        points = self.points["snapshot_id"]
        return dense_is_weak(points, self.evaluations, self.baseline_records)

    @cached_property
    def pick(self) -> str:
        """Name of the pick that is exported if no point is named; empty if there is none.

        If the dense baseline is weak, keeping a share of its return means little: then the knee comes
        before the points that keep one.
        """
        names = ("goal", "knee", *KEEPS) if self.dense_is_weak else PICKS
        return next((name for name in names if self.points[name].any()), "")

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """One row per baseline, with the columns of `baselines.csv`."""
        return self.confirmed.baselines

    @cached_property
    def shifts(self) -> pd.DataFrame:
        """One row per shift and policy, with the columns of `shift.csv`; empty without shifts."""
        return generalisation_of(self.folder, self.confirmed, np.random.default_rng(0))

    @cached_property
    def recipe_check(self) -> pd.DataFrame:
        """Recipes of front points on fresh seeds, with the columns of `retrain.csv`; may be empty."""
        return recipe_table(self.folder, self.confirmed)

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """One row per snapshot, with the columns of `snapshots.csv`."""
        return tables.snapshots_table(self.records)

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """One row per evaluated episode."""
        return tables.episodes_table(self.records, self.evaluations)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Sparsity of each layer of each snapshot."""
        return tables.layers_table(self.records)

    @cached_property
    def hypervolume(self) -> pd.DataFrame:
        """Hypervolume of the search scores: `env_steps, minutes, over_sparsity, over_decades`."""
        return hypervolume_points(self.records, self.confirmed.scale)

    @cached_property
    def importance(self) -> Importance:
        """Importance of hyperparameters for the gains of segments: exploratory."""
        random = self.baseline_records.get("random")
        return importance(self.records, random.search_return if random else np.nan)

    def policy(self, point: str = "") -> Policy:
        """Loads an exported front point without Ray: `policy(observation)` returns an action.

        Args:
            point: "goal", "keeps_95", "keeps_99", "knee" or a snapshot's id; empty for the one that
                the report picks.

        Raises:
            ResultsError: There is no such point, or it was not exported yet.
            ExportError: The export is damaged or was tampered with, or software to run it is missing.
        """
        from rllib_ext.export.loading import load

        point = point or self.pick
        known = set(self.front["snapshot_id"].astype(str))
        named = point if point in known else self.confirmed.pick(point) if point in PICKS else ""
        if not named:
            raise ResultsError(
                f"{self.folder} has no point {point!r}; expected one of {', '.join(PICKS)} that the "
                f"front has, or of {', '.join(sorted(known)) or 'none'}."
            )
        place = self.folder / EXPORT / named
        found = [place / kind for kind in FORMS if (place / kind / "policy.json").is_file()]
        if not found:
            raise ResultsError(
                f"{named} was not exported yet: prunefront export {self.folder} --point {named} "
                "--format numpy"
            )
        return load(found[0])

    def metadata(self, checkpoint: str) -> dict[str, Any]:
        """Returns the metadata in a policy's folder; empty if it is missing or can't be read.

        Args:
            checkpoint: Folder of the policy, relative to the results folder.
        """
        path = self.folder / checkpoint / "metadata.json"
        if not checkpoint or ".." in Path(checkpoint).parts or not path.is_file():
            return {}
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Returns all tables that are written as CSV, by the stem of the file name."""
        return {
            "snapshots": self.snapshots,
            "front": self.confirmed.table,
            "baselines": self.baselines,
            "shift": self.shifts,
            "retrain": self.recipe_check,
        }

    def write_tables(self) -> None:
        """Writes all tables to the folder, each atomically."""
        for stem, table in self.tables().items():
            if len(table) or stem not in OPTIONAL:
                tables.write_csv(self.folder / f"{stem}.csv", table)
        for stem in ("snapshots", "front"):
            tables.write_parquet(self.folder / f"{stem}.parquet", self.tables()[stem])
        tables.write_parquet(self.folder / "episodes.parquet", self.episodes)
        tables.write_parquet(self.folder / "layers.parquet", self.layers)

    @cached_property
    def _chosen(self) -> pd.DataFrame:
        return choose(self.records, self.evaluations, self.baseline_records, self.goal)

    @property
    def _candidates(self) -> list[str] | None:
        """Ids of the policies last chosen for re-evaluation, or None if none were chosen yet."""
        if self.pruned:
            played = {e.snapshot_id for e in self.evaluations if e.purpose == "selection"}
            return [s.snapshot_id for s in self.records if s.snapshot_id in played]
        told = [e.get("chosen") for e in self.events if e.get("event") == CANDIDATES]
        return told[-1] if told and isinstance(told[-1], list) else None

    def __repr__(self) -> str:
        return f"<Results {self.name}: {len(self.records):,} snapshots in {self.folder}>"
