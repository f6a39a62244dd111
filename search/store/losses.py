"""Finds what a results folder has lost, so that reports made from the rest can say so."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ConfigError
from search.config.loading import parse_yaml
from search.store.archive import CANDIDATES, Baseline, Evaluation, Snapshot
from search.store.began_with import GROWS, differences, recorded
from search.store.folder import CONFIG, FINISHED, PRUNED
from search.store.ledger import lost_records

# Earlier reports, made from more records, are kept in folders of this name, numbered from the second on.
EARLIER = "earlier"
# Baselines without a network; their episodes are recorded before the baselines are.
_UNTRAINED = {"random", "constant"}


def losses_of(
    folder: Path,
    manifest: Mapping[str, Any],
    records: Sequence[Snapshot],
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Baseline],
    events: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Describes what is missing, one clause per loss; empty if no loss can be detected.

    The seals in the manifest are the surest source. Folders of earlier versions have none; there, tables
    of earlier reports and references between the files show what is missing.

    Args:
        folder: The results folder.
        manifest: The manifest; read it before the record files, because the search may still run.
        records: Snapshots of the archive.
        evaluations: Evaluations with fresh episodes.
        baselines: Baselines by name.
        events: Events of the archive.
    """
    known = {s.snapshot_id for s in records}
    evaluated = {e.snapshot_id for e in evaluations}
    told = lost_records(folder, manifest)
    lacking = {
        "snapshots.jsonl": _named(folder, "snapshots.csv", "snapshot_id") - known,
        "evaluations.jsonl": _named(folder, "front.csv", "snapshot_id") - evaluated,
        "baselines.jsonl": _named(folder, "baselines.csv", "name") - baselines.keys(),
    }
    if manifest.get("status") == FINISHED:
        chosen = {
            str(i) for e in events if e.get("event") == CANDIDATES for i in e.get("chosen", ())
        }
        lacking["snapshots.jsonl"] |= (chosen | evaluated) - known - baselines.keys() - _UNTRAINED
    for name, ids in lacking.items():
        if ids and not any(name in clause for clause in told):
            told.append(f"{name} lacks {len(ids):,} that other files name, such as {min(ids)}")
    return told


def doubts(
    folder: Path,
    manifest: Mapping[str, Any],
    config: str,
    losses: Sequence[str],
    policies: Mapping[str, str],
) -> list[str]:
    """Returns warnings that a reader needs before trusting results made from a folder.

    Args:
        folder: The results folder.
        manifest: Manifest of the run.
        config: Text of `config.yaml`.
        losses: Losses, as returned by `losses_of`.
        policies: Folder of each front point's policy, by `snapshot_id`; empty if it is not on disk.
    """
    told = []
    status = str(manifest.get("status", FINISHED))
    if manifest.get("strategy") == PRUNED and status != FINISHED:
        told.append(
            f"not all levels were pruned ({status}): the front lacks the others. Run `prunefront prune` "
            "again into another folder"
        )
    if losses:
        kept = [p.name for p in _places_of_reports(folder)[1:]]
        earlier = f". The report from before lies in {', '.join(kept)}" if kept else ""
        told.append(
            f"the archive is incomplete: {'; '.join(losses)}. What follows is from what is left; bring "
            f"the whole files back and report again{earlier}"
        )
    if edits := _edits(config, recorded(manifest)):
        told.append(
            f"{CONFIG} was changed since: {'; '.join(edits)}. The figures are of what it was"
        )
    if gone := [name for name, place in policies.items() if not place]:
        told.append(
            f"the policies of {len(gone)} of {len(policies)} front points are not in policies/, such as "
            f"{gone[0]}: what was measured on them is missing too"
        )
    return told


def _edits(config: str, before: Mapping[str, Any] | None) -> list[str]:
    if before is None or not config:
        return []
    try:
        now = parse_yaml(config, CONFIG)
    except ConfigError:
        now = None
    return differences(now, before, but=GROWS) if isinstance(now, dict) else ["it can't be read"]


def _places_of_reports(folder: Path) -> list[Path]:
    """Returns the folders with reports: the results folder itself, and those of earlier reports."""
    return [folder, *sorted(p for p in folder.glob(f"{EARLIER}*") if p.is_dir())]


def _named(folder: Path, table: str, column: str) -> set[str]:
    """Returns the values in a column of a table, over all reports of a results folder."""
    found: set[str] = set()
    for place in _places_of_reports(folder):
        if (place / table).is_file():
            with (place / table).open(encoding="utf-8", errors="replace", newline="") as file:
                found.update(_values(csv.DictReader(file), column))
    return found


def _values(rows: Iterable[Mapping[Any, Any]], column: str) -> Collection[str]:
    try:
        return {row[column] for row in rows if row.get(column)}
    except csv.Error:
        # The file is no table written by prunefront.
        return ()
