"""What a results folder no longer holds, found when it is read back: a verdict from less must say so."""

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

# Reports that were made from more are kept in folders of this name, numbered from the second on.
EARLIER = "earlier"
# Measured without a network, and recorded before they are listed among the baselines.
_UNTRAINED = {"random", "constant"}


def losses_of(
    folder: Path,
    manifest: Mapping[str, Any],
    records: Sequence[Snapshot],
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Baseline],
    events: Iterable[Mapping[str, Any]],
) -> list[str]:
    """What is gone, a clause each; empty where all is there as far as anybody can tell.

    What the manifest notes is surest. Folders of earlier versions have no such notes; there the tables
    of earlier reports tell, and files that name what another one lacks.

    Args:
        folder: The results folder.
        manifest: Read before the others, for the search may still run.
        records: The archive's snapshots.
        evaluations: Fresh episodes.
        baselines: By name.
        events: What happened.
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
    """What a reader must know of a folder before trusting what is made of it.

    Args:
        folder: The results folder.
        manifest: What the run says of itself.
        config: The configuration, verbatim.
        losses: What `losses_of` returned.
        policies: Folder of each front point's policy, by `snapshot_id`; "" where it isn't there.
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
    """Where reports of a results folder lie: in it, and those that were made from more."""
    return [folder, *sorted(p for p in folder.glob(f"{EARLIER}*") if p.is_dir())]


def _named(folder: Path, table: str, column: str) -> set[str]:
    """What a column of a table holds, in every report that was made of a folder."""
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
        # Not a table of ours.
        return ()
