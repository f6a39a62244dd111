"""Chooses the policies of a running search that stay on disk.

During the search at most `POLICIES_PER_CANDIDATE` times `evaluation.candidates` beside those of one
segment; after it the re-evaluated ones and the dense baseline's. A removed policy leaves its line in the
archive.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from search.front.aim import NO_AIM, Aim, candidates_for
from search.store.archive import Snapshot
from search.store.deletion import Remove, remove, remove_policies

POLICIES_PER_CANDIDATE = 20


def thin_policies(
    folder: Path,
    snapshots: list[Snapshot],
    keep: Collection[str],
    limit: int,
    floor: float,
    remove: Remove = remove,
    aim: Aim = NO_AIM,
) -> list[Snapshot]:
    """Removes policies once they are too many; those that may still become candidates stay.

    Args:
        folder: The results folder.
        snapshots: All of the search.
        keep: `snapshot_id` of those that stay in any case.
        limit: Candidates that the search will evaluate.
        floor: Mean return that a policy must exceed to be a candidate.
        remove: Function that removes a folder.
        aim: Aim of the search.

    Returns:
        The same as `remove_policies`.
    """
    held = [s for s in snapshots if s.checkpoint]
    most = POLICIES_PER_CANDIDATE * limit
    if len(held) <= most:
        return snapshots
    best = {s.snapshot_id for s in candidates_for(aim, held, most // 2, floor=floor)}
    return remove_policies(folder, snapshots, best.union(keep), remove)
