"""What a search may keep on disk, and how folders go: renamed first, so that none is ever half gone.

Training states: those of the snapshots of the last two segments of the clock of the member that is
furthest behind, and those that a segment starts from. Policies: during the search at most
`POLICIES_PER_CANDIDATE` times `evaluation.candidates` beside those of one segment; after it the
re-evaluated ones and the dense baseline's. A removed policy leaves its line in the archive.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from search.archive import Archive, Snapshot
from search.files import ASIDE
from search.front import candidates

PART = ".part"
FOLDERS = ("policies", "states")
POLICIES_PER_CANDIDATE = 20


def remove(folder: Path) -> None:
    """Removes a folder; killed on the way, it leaves one whose name says that it is half."""
    if not folder.is_dir():
        return
    aside = folder.with_name(folder.name + PART)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_policies(
    folder: Path, snapshots: Sequence[Snapshot], keep: Collection[str]
) -> list[Snapshot]:
    """Removes policies from disk.

    Args:
        folder: The results folder.
        snapshots: Whose policies may go.
        keep: `snapshot_id` of those that stay.

    Returns:
        The snapshots; `checkpoint` is "" where the policy has gone.
    """
    left: list[Snapshot] = []
    for snapshot in snapshots:
        if snapshot.checkpoint and snapshot.snapshot_id not in keep:
            remove(folder / snapshot.checkpoint)
            snapshot = dataclasses.replace(snapshot, checkpoint="")
        left.append(snapshot)
    return left


def thin_policies(
    folder: Path,
    snapshots: list[Snapshot],
    keep: Collection[str],
    limit: int,
    floor: float,
) -> list[Snapshot]:
    """Removes policies once they are too many; those that may still become candidates stay.

    Args:
        folder: The results folder.
        snapshots: All of the search.
        keep: `snapshot_id` of those that stay in any case.
        limit: Candidates that the search will evaluate.
        floor: As for `search.front.candidates`.

    Returns:
        As `remove_policies`.
    """
    held = [s for s in snapshots if s.checkpoint]
    most = POLICIES_PER_CANDIDATE * limit
    if len(held) <= most:
        return snapshots
    best = {s.snapshot_id for s in candidates(held, most // 2, floor=floor)}
    return remove_policies(folder, snapshots, best.union(keep))


def tidy(archive: Archive) -> None:
    """Removes what a killed search left: half-written folders, and folders that no line names."""
    named = {s.snapshot_id for s in archive.snapshots()}
    policies = {Path(b.checkpoint).name for b in archive.baselines().values() if b.checkpoint}
    for kind in FOLDERS:
        for path in archive.folder.glob(f"{kind}/*"):
            if path.suffix == PART:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in named and not (kind == "policies" and path.name in policies):
                remove(path)
    for path in archive.folder.glob(ASIDE):
        path.unlink(missing_ok=True)
