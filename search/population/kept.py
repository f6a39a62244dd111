"""What a running search still holds of its snapshots, so that its memory does not grow with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from search.population.progress import BestSoFar
from search.population.thinning import thin_policies
from search.store.archive import Archive, Snapshot
from search.store.deletion import Remove


class KeptSnapshots:
    """Snapshots whose policy is on disk, or whose segment may still be trained again.

    Args:
        archive: Holds all of them.
        snapshots: Those so far.
        candidates: Policies that the search will evaluate again.
        floor: Mean return that a policy must exceed to be feasible.
        remove: How a policy's folder goes.

    Attributes:
        count: Snapshots in all.
        so_far: The best of all.
    """

    def __init__(
        self,
        archive: Archive,
        snapshots: Sequence[Snapshot],
        candidates: int,
        floor: float,
        remove: Remove,
    ) -> None:
        self._archive = archive
        self._candidates = candidates
        self._floor = floor
        self._remove = remove
        self._snapshots = list(snapshots)
        self._evaluated = {e.snapshot_id for e in archive.evaluations()}
        self.count = len(snapshots)
        self.so_far = BestSoFar(snapshots, floor)

    def add(self, snapshot: Snapshot) -> None:
        """Takes a new one."""
        self._snapshots.append(snapshot)
        self.count += 1
        self.so_far.add(snapshot)

    def take_repeated(self, snapshot: Snapshot) -> Snapshot:
        """A repeated segment makes the same snapshots; where it doesn't, the new policy counts.

        Returns:
            The snapshot that counts.
        """
        at = next(i for i, s in enumerate(self._snapshots) if s.snapshot_id == snapshot.snapshot_id)
        known = self._snapshots[at]
        if (known.returns, known.nonzero_params) != (snapshot.returns, snapshot.nonzero_params):
            self._archive.correct_snapshot(snapshot)
            self._snapshots[at] = snapshot
            self.so_far = BestSoFar(self._archive.snapshots(), self._floor)
        else:
            self._snapshots[at] = dataclasses.replace(
                known, checkpoint=snapshot.checkpoint, state=snapshot.state
            )
        return self._snapshots[at]

    def thin(self, keep: Collection[str], again: Collection[tuple[int, int]]) -> None:
        """Removes policies beyond their number, and forgets what nobody asks for any more.

        Args:
            keep: `snapshot_id` of those whose policy stays in any case.
            again: Member and segment of those that may still be trained again.
        """
        left = thin_policies(
            self._archive.folder,
            self._snapshots,
            {*self._evaluated, *keep},
            self._candidates,
            self._floor,
            self._remove,
        )
        self._snapshots = [s for s in left if s.checkpoint or (s.member, s.segment) in again]
