"""What a search removes from disk while it goes on: training states and policies that nobody needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from search.population.kept import KeptSnapshots
from search.population.member import Member
from search.population.recovery import Running
from search.population.strategies import Strategy
from search.store.archive import Snapshot
from search.store.deletion import Trash


class Removal:
    """Lets go of what neither front, donors nor a resumed search need.

    Args:
        folder: The results folder.
        trash: Removes beside the one who asks.
        strategy: Knows who can still be copied.
        kept: Knows which policies stay.
        segment_steps: Env steps of a segment.
    """

    def __init__(
        self,
        folder: Path,
        trash: Trash,
        strategy: Strategy,
        kept: KeptSnapshots,
        segment_steps: int,
    ) -> None:
        self._folder = folder
        self._trash = trash
        self._strategy = strategy
        self._kept = kept
        self._segment_steps = segment_steps

    def remove_state(self, snapshot: Snapshot) -> None:
        """Removes the training state of a snapshot that nobody goes on from."""
        self._trash.take(self._folder / snapshot.state)
        self._trash.empty()

    def remove_old(
        self, members: Sequence[Member], running: Mapping[int, Running], lost: Sequence[Running]
    ) -> None:
        """Removes training states that no member can start from, and policies beyond their number.

        Args:
            members: The population.
            running: Segments in training, by member.
            lost: Segments that are to be trained again.
        """
        clocks = [
            m.env_steps for m in members if not m.given_up and (m.segment > 0 or m.index in running)
        ]
        clocks += [r.start for r in lost]
        oldest = min([self._strategy.horizon, *clocks]) - self._segment_steps
        unended = (*running.values(), *lost)
        latest = [
            *(m.last for m in members),
            *(r.last for r in running.values()),
            *(r.source for r in unended),
        ]
        needed = {snapshot.state for snapshot in latest if snapshot is not None}
        again = {(r.segment.member, r.segment.segment) for r in unended}
        for snapshot in self._strategy.forget(oldest, needed, again):
            self._trash.take(self._folder / snapshot.state)
        stays = [r.last.snapshot_id for r in running.values() if r.last is not None]
        self._kept.thin(stays, again)
        self._trash.empty()

    def close(self) -> None:
        """Returns once all of it is gone."""
        self._trash.close()
