"""The snapshots that a running search still asks for, so that its memory does not grow with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from search.store.archive import Snapshot


class Register:
    """Snapshots whose policy or training state is on disk, or whose segment may be trained again.

    In the order in which they were made. `checkpoint` and `state` are "" where the folder has gone.

    """

    def __init__(self) -> None:
        self._held: dict[str, Snapshot] = {}
        # Of `_held`; None: to be looked for, once anybody asks.
        self._donors: dict[str, Snapshot] | None = None

    @property
    def held(self) -> list[Snapshot]:
        """All of them."""
        return list(self._held.values())

    @property
    def donors(self) -> Mapping[str, Snapshot]:
        """Snapshots that can be continued, by `snapshot_id`: their training state is on disk.

        There may be thousands. Another mapping where anything has changed, never changed in place.
        """
        if self._donors is None:
            self._donors = {name: s for name, s in self._held.items() if s.state}
        return self._donors

    def get(self, snapshot_id: str) -> Snapshot | None:
        """A snapshot by its id; None: it is not held, or there is none."""
        return self._held.get(snapshot_id)

    def put(self, snapshot: Snapshot) -> Snapshot:
        """Takes a new snapshot, or one in the place of another with its id.

        Returns:
            The snapshot as it is held: nobody goes on from what isn't usable.
        """
        if not snapshot.usable:
            snapshot = dataclasses.replace(snapshot, state="")
        self._held[snapshot.snapshot_id] = snapshot
        self._donors = None
        return snapshot

    def renew(self, member: int, segment: int, env_steps: int) -> Snapshot | None:
        """Takes note that a snapshot's policy and state were written anew; None: it is not held."""
        key = (member, segment, env_steps)
        for s in reversed(self._held.values()):
            if (s.member, s.segment, s.env_steps) == key:
                name = s.snapshot_id
                renewed = dataclasses.replace(
                    s, checkpoint=f"policies/{name}", state=f"states/{name}"
                )
                return self.put(renewed)
        return None

    def keep(self, snapshots: Iterable[Snapshot], again: Collection[tuple[int, int]]) -> None:
        """Replaces all by what is left of them.

        What was seen episode by episode is only compared while a segment may be trained again.

        Args:
            snapshots: Those that were held, as they now are.
            again: Member and segment of those that may still be trained again.
        """
        held = {}
        for s in snapshots:
            if (s.member, s.segment) in again:
                held[s.snapshot_id] = s
            elif s.checkpoint or s.state:
                held[s.snapshot_id] = s.without_details() if s.returns else s
        self._held, self._donors = held, None
