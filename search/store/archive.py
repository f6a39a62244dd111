"""The archive of a search: every evaluated snapshot of every member, written to disk immediately.

Append-only files hold the results of a run. Each record is one whole line, synced before the append
returns – except for `Archive.note`, whose line is synced with the next event. A last line that a crash
left incomplete is ignored on reading and cut off before the next append. Imports neither Ray nor torch.

    snapshots.jsonl     one `Snapshot` per line
    evaluations.jsonl   one `Evaluation` per line: fresh episodes of a policy on held-out seeds
    baselines.jsonl     one `Baseline` per line
    events.jsonl        one event per line: start, explore, exploit, failure …
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_origin, get_type_hints

from rllib_ext.pruning.errors import ResultsError
from search.store.ledger import Ledger
from search.store.lines import append_lines, read_lines

Hyperparameter = float | int | str | bool
Status = Literal["ok", "infeasible", "failed"]
Purpose = Literal["selection", "report"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Base class of records: one line of a file of the archive."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Builds a record from one parsed line; keys added by newer versions are ignored.

        Raises:
            ResultsError: A value that this version needs is missing or has the wrong type.
        """
        kinds = _kinds(cls)
        wrong = [n for n, kind in kinds.items() if n in values and not isinstance(values[n], kind)]
        if wrong:
            raise ResultsError(
                f"A line of {cls.__name__.lower()}s has {wrong[0]} = {values[wrong[0]]!r}, which is not "
                "of the kind that this version reads. The folder was written by another version of "
                "prunefront, or changed by hand."
            )
        try:
            return cls(**{name: value for name, value in values.items() if name in kinds})
        except TypeError as error:
            raise ResultsError(
                f"A line of {cls.__name__.lower()}s lacks values that this version reads: {error}. "
                "The folder was probably written by another version of prunefront."
            ) from error


FieldType = type[Any] | tuple[type[Any], ...]
_FIELD_TYPES: dict[str, dict[str, FieldType]] = {}


def _kinds(record: type[Record]) -> dict[str, FieldType]:
    """Returns the types that each field may have in JSON: a float may be written as an integer."""
    if record.__name__ not in _FIELD_TYPES:
        hints = get_type_hints(record)
        _FIELD_TYPES[record.__name__] = {name: _kind(hint) for name, hint in hints.items()}
    return _FIELD_TYPES[record.__name__]


def _kind(hint: Any) -> FieldType:
    if hint is float:
        return (int, float)
    if get_origin(hint) is Literal:
        return str
    found: type[Any] = get_origin(hint) or hint
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot(Record):
    """The state of one member at one evaluation.

    Attributes:
        snapshot_id: Unique in the search, such as "m03-s002-i0014".
        trial_number: The segment's trial in the Optuna study; −1 without a study.
        member: Index of the member, from 0.
        segment: Index of the member's segment, from 0.
        iteration: Training iterations of the lineage.
        env_steps: Training env steps of the lineage: the clock of its schedules.
        wall_time: Seconds since the search started.
        status: "ok", "infeasible" (no better than a random or constant policy) or "failed".
        return_mean: Mean return of the evaluation episodes.
        return_std: Sample standard deviation of their returns.
        episodes: Number of evaluation episodes.
        sparsity: Share of the policy path's prunable weights that are exactly zero, in [0, 1].
        critic_sparsity: The same share over the weights that only the critic uses.
        nonzero_params: Non-zero prunable weights on the policy path.
        total_params: Prunable weights on the policy path: sparsity = 1 − nonzero ÷ total.
        parent: `snapshot_id` whose training state the segment started from; empty for a birth.
        checkpoint: Folder of the policy, relative to the results folder; empty once removed.
        state: Folder of the full training state, relative to the results folder; empty if none is kept.
        hyperparameters: Hyperparameters of the segment by path.
        objectives: Values of further objectives by name.
        layers: Sparsity of each prunable layer.
        seeds: Seeds of the evaluation episodes.
        returns: Return of each episode, in the order of `seeds`.
        lengths: Env steps of each episode.
    """

    snapshot_id: str
    trial_number: int
    member: int
    segment: int
    iteration: int
    env_steps: int
    wall_time: float
    status: Status
    return_mean: float
    return_std: float
    episodes: int
    sparsity: float
    critic_sparsity: float
    nonzero_params: int
    total_params: int
    parent: str
    checkpoint: str
    state: str
    hyperparameters: dict[str, Hyperparameter]
    objectives: dict[str, float] = dataclasses.field(default_factory=dict)
    layers: dict[str, float] = dataclasses.field(default_factory=dict)
    seeds: list[int] = dataclasses.field(default_factory=list)
    returns: list[float] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether the snapshot can be ranked: it did not fail and its mean return is finite."""
        return self.status != "failed" and math.isfinite(self.return_mean)

    def only_in(self, folders: Collection[str]) -> Self:
        """Returns a copy whose `checkpoint` and `state` are empty unless they are in `folders`."""
        return dataclasses.replace(
            self,
            checkpoint=self.checkpoint if self.checkpoint in folders else "",
            state=self.state if self.state in folders else "",
        )

    def without_details(self) -> Self:
        """Returns a copy without values per episode and per layer, which take most of the memory."""
        return dataclasses.replace(self, layers={}, seeds=[], returns=[], lengths=[])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """Fresh deterministic episodes of one policy, one per seed.

    Attributes:
        snapshot_id: Snapshot's id or baseline's name of the policy.
        purpose: "selection" episodes decide which policies are on the front; "report" episodes give
            the published figures.
        seeds: Seed of each episode.
        returns: Return of each episode.
        lengths: Env steps of each episode.
    """

    snapshot_id: str
    purpose: Purpose
    seeds: list[int]
    returns: list[float]
    lengths: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """A policy that the front is compared with.

    Attributes:
        name: "dense", "random", "constant", or a name such as "random_masks-45".
        description: Description in one line for the report.
        env_steps: Training env steps of the baseline; 0 without training.
        wall_time: Seconds until the baseline was trained: for "dense", since the search started; for
            the others, since the training of all of them started.
        search_return: Mean return over the search's evaluation seeds; for "dense", of its last policy.
        sparsity: Sparsity of the policy path; NaN without a network.
        nonzero_params: Non-zero weights of the policy path; 0 without a network.
        total_params: Weights of the policy path; 0 without a network.
        checkpoint: Folder of the policy, relative to the results folder; empty if there is none.
        kind: "random_masks", "small_dense", "train_then_prune", "linear" or "tree"; empty for "dense",
            "random" and "constant".
        level: `snapshot_id` of the front point it is compared with; empty for those three.
        unit: Unit of `nonzero_params`: "weights", or "numbers" for a tree – one threshold per inner
            node, and the numbers in its leaves.
        flash_bytes: Size of a tree, laid out as in `rllib_ext.policy.tree.Tree.bytes`; 0 means not
            counted.
    """

    name: str
    description: str
    env_steps: int
    wall_time: float
    search_return: float
    sparsity: float = math.nan
    nonzero_params: int = 0
    total_params: int = 0
    checkpoint: str = ""
    kind: str = ""
    level: str = ""
    unit: str = "weights"
    flash_bytes: int = 0


# The event before the best policies are re-evaluated; its "chosen" lists their ids.
CANDIDATES = "candidates"
# The event when a baseline or a kind of baselines is left out for good; has "baseline" and "why".
LEFT_OUT = "left_out"


class Archive:
    """The record files of one results folder. One process may write; any number may read.

    Args:
        folder: The results folder, or the folder of a recipe check in it; it must exist.
        results: The results folder, whose manifest records the files' contents; None means `folder`.
    """

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        self.folder = folder
        self._ledger = Ledger(results or folder)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Appends a snapshot; the last one counts if the same id was made again."""
        self._append("snapshots.jsonl", vars(snapshot))

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Appends the episodes of a policy on held-out seeds."""
        self._append("evaluations.jsonl", vars(evaluation))

    def add_baseline(self, baseline: Baseline) -> None:
        """Appends a baseline; the last of several with the same name counts."""
        self._append("baselines.jsonl", vars(baseline))

    def add_event(self, kind: str, **values: Any) -> None:
        """Appends an event, such as `add_event("exploit", member=3, donor="m01-s002-i0010")`."""
        self._append("events.jsonl", {"event": kind, **values})

    def note(self, kind: str, **values: Any) -> None:
        """Appends an event without syncing it: it is only useful with the next one, which is synced."""
        self._append("events.jsonl", {"event": kind, **values}, sync=False)

    def snapshots(self) -> list[Snapshot]:
        """Returns all snapshots in the order they were made; the last of several with one id counts."""
        found = (Snapshot.from_json(v) for v in read_lines(self.folder / "snapshots.jsonl"))
        return list({snapshot.snapshot_id: snapshot for snapshot in found}.values())

    def available(self) -> list[Snapshot]:
        """Returns all snapshots; `checkpoint` and `state` are empty if the folder is not on disk."""
        there = self.on_disk()
        return [snapshot.only_in(there) for snapshot in self.snapshots()]

    def on_disk(self) -> set[str]:
        """Returns the folders of policies and training states, relative to the results folder."""
        return {
            f"{kind}/{path.name}"
            for kind in ("policies", "states")
            for path in self.folder.glob(f"{kind}/*")
        }

    def evaluations(self) -> list[Evaluation]:
        """Returns all evaluations; the last of several of one policy and purpose counts."""
        found = (Evaluation.from_json(v) for v in read_lines(self.folder / "evaluations.jsonl"))
        return list({(e.snapshot_id, e.purpose): e for e in found}.values())

    def baselines(self) -> dict[str, Baseline]:
        """Returns the baselines by name."""
        found = (Baseline.from_json(v) for v in read_lines(self.folder / "baselines.jsonl"))
        return {baseline.name: baseline for baseline in found}

    def left_out(self) -> dict[str, str]:
        """Returns the reasons why baselines are left out for good, by name or kind."""
        return {e["baseline"]: e["why"] for e in self.events() if e["event"] == LEFT_OUT}

    def events(self) -> list[dict[str, Any]]:
        """Returns all events in the order they happened."""
        return list(read_lines(self.folder / "events.jsonl"))

    def _append(self, name: str, values: Mapping[str, Any], *, sync: bool = True) -> None:
        append_lines(self.folder / name, [values], sync=sync)
        # The record is safe; a full disk only delays the update of the manifest.
        with contextlib.suppress(OSError):
            self._ledger.seal_now_and_then()
