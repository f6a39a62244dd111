"""A results folder, read back: from Python, from a notebook, for the report. Nothing is unpickled."""

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

# Where exports of points lie, each in a folder for its form; what a point can be called by.
EXPORT = "export"
FORMS = ("numpy", "onnx", "c", "torch")
PICKS = ("goal", *KEEPS, "knee")
# Tables that are only written where there is something in them.
OPTIONAL = ("shift", "retrain")


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """One search, from its folder; tables are made when they are first asked for.

    Attributes:
        folder: The results folder.
        config: The resolved configuration, verbatim; "" where the file is missing.
        manifest: `manifest.json`; empty where the file is missing.
        records: The archive's snapshots in the order they were made.
        evaluations: Fresh episodes.
        baseline_records: Baselines by name.
        events: What happened, in order.
        losses: What the folder no longer holds, a clause each.
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
        """Where the report is, once it is written."""
        return self.folder / PAGE

    @property
    def name(self) -> str:
        """What the search is called."""
        return str(self.manifest.get("name") or self.folder.resolve().name)

    @cached_property
    def goal(self) -> GoalSettings:
        """What the wanted policy must fulfil; one that isn't given where the search had none."""
        return goal_of(plain_values(self.config))

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row a front point, what was chosen of it: no figures, whose resampling takes a while."""
        return self._chosen[self._chosen["member"]].reset_index(drop=True)

    @cached_property
    def confirmed(self) -> Front:
        """The front with its baselines, scale and notes; its table is empty where there is none yet."""
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
        """Whether a front point's policy is not on disk."""
        return bool((self.points["policy"] == "").any())

    @property
    def unfinished(self) -> str:
        """The status of a search that has not ended, such as "interrupted"; "" of one that has."""
        status = str(self.manifest.get("status", FINISHED))
        return "" if status == FINISHED else status

    @property
    def pruned(self) -> bool:
        """Whether `prunefront prune` wrote it: there is no search that could go on."""
        return self.manifest.get("strategy") == PRUNED

    @property
    def has_front(self) -> bool:
        """Whether policies were re-evaluated, or none was worth it."""
        chosen = self._candidates
        played = {e.snapshot_id for e in self.evaluations if e.purpose == "selection"}
        return bool(len(self._chosen)) or (chosen is not None and played.issuperset(chosen))

    def require_front(self) -> None:
        """Looks whether there is a front.

        Raises:
            ResultsError: No policy was re-evaluated yet.
        """
        if not self.has_front:
            raise ResultsError(f"{self.folder}: {UNCONFIRMED}.")

    @cached_property
    def front(self) -> pd.DataFrame:
        """One row a front point, the columns of `front.csv`.

        Raises:
            ResultsError: No policy was re-evaluated yet.
        """
        self.require_front()
        return self.confirmed.table

    @cached_property
    def dense_is_weak(self) -> bool:
        """Whether the front's best is far and surely above the dense baseline, as selection says."""
        points = self.points["snapshot_id"]
        return dense_is_weak(points, self.evaluations, self.baseline_records)

    @cached_property
    def pick(self) -> str:
        """What the point is picked as that is taken out of Ray where none is named; "" for none.

        Where the dense baseline is weak, to keep a share of it is no merit: then the knee comes first.
        """
        names = ("goal", "knee", *KEEPS) if self.dense_is_weak else PICKS
        return next((name for name in names if self.points[name].any()), "")

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """One row a baseline, the columns of `baselines.csv`."""
        return self.confirmed.baselines

    @cached_property
    def shifts(self) -> pd.DataFrame:
        """One row a shift and policy, the columns of `shift.csv`; none where nothing was shifted."""
        return generalisation_of(self.folder, self.confirmed, np.random.default_rng(0))

    @cached_property
    def recipe_check(self) -> pd.DataFrame:
        """Front points' recipes on fresh seeds, the columns of `retrain.csv`; empty where none ran."""
        return recipe_table(self.folder, self.confirmed)

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """One row a snapshot, the columns of `snapshots.csv`."""
        return tables.snapshots_table(self.records)

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """One row an evaluated episode."""
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
        """Which hyperparameters went with what segments gained: exploratory."""
        random = self.baseline_records.get("random")
        return importance(self.records, random.search_return if random else np.nan)

    def policy(self, point: str = "") -> Policy:
        """A front point's policy, out of Ray: `policy(observation)` gives the environment's action.

        Args:
            point: "goal", "keeps_95", "keeps_99", "knee", or a snapshot's id; "": the one that the
                report picks.

        Raises:
            ResultsError: There is no such point, or it was not exported yet.
            ExportError: The export is damaged or was tampered with, or what runs it is missing here.
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
        """What a policy's folder says about it; empty where it isn't there, or can't be read.

        Args:
            checkpoint: The policy's folder, relative to the results folder.
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
        """Every table that is written as CSV, by its file's stem."""
        return {
            "snapshots": self.snapshots,
            "front": self.confirmed.table,
            "baselines": self.baselines,
            "shift": self.shifts,
            "retrain": self.recipe_check,
        }

    def write_tables(self) -> None:
        """Writes every table of the folder, aside and renamed."""
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
        """Ids of the policies that were last chosen for re-evaluation; None: none were yet."""
        if self.pruned:
            played = {e.snapshot_id for e in self.evaluations if e.purpose == "selection"}
            return [s.snapshot_id for s in self.records if s.snapshot_id in played]
        told = [e.get("chosen") for e in self.events if e.get("event") == CANDIDATES]
        return told[-1] if told and isinstance(told[-1], list) else None

    def __repr__(self) -> str:
        return f"<Results {self.name}: {len(self.records):,} snapshots in {self.folder}>"
