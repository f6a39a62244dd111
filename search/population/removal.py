"""Removes training states and policies that a running search no longer needs from disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from search.config.experiment import ExperimentConfig
from search.population.state import State
from search.population.strategies import Strategy
from search.population.thinning import thin_policies
from search.store.archive import Archive, Snapshot
from search.store.deletion import Trash


class Removal:
    """Removes what is needed neither for the front, nor as a donor, nor to resume the search.

    Args:
        config: The experiment.
        archive: The archive in its results folder.
        strategy: Strategy, which knows the members that can still be copied.
        floor: Mean return that a policy must exceed to be feasible.
    """

    def __init__(
        self, config: ExperimentConfig, archive: Archive, strategy: Strategy, floor: float
    ) -> None:
        self._config = config
        self._folder = archive.folder
        self._strategy = strategy
        self._floor = floor
        self._trash = Trash(archive.folder)
        self._evaluated = {e.snapshot_id for e in archive.evaluations()}

    def remove_state(self, snapshot: Snapshot) -> None:
        """Removes the training state of a snapshot that nobody goes on from."""
        self._trash.take(self._folder / snapshot.state)
        self._trash.empty()

    def remove_old(self, state: State) -> None:
        """Removes training states that no member can start from, and policies beyond their number."""
        gone = {s.state for s in self._useless(state)}
        for name in gone:
            self._trash.take(self._folder / name)
        held = state.snapshots.held
        stays = {r.last.snapshot_id for r in state.running.values() if r.last is not None}
        left = thin_policies(
            self._folder,
            [dataclasses.replace(s, state="") if s.state in gone else s for s in held],
            self._evaluated | stays,
            self._config.evaluation.candidates,
            self._floor,
            self._trash.take,
            self._strategy.aim,
        )
        state.snapshots.keep(left, state.again)
        self._trash.empty()

    def _useless(self, state: State) -> Collection[Snapshot]:
        clocks = [
            m.env_steps
            for m in state.members
            if not m.given_up and (m.segment > 0 or m.index in state.running)
        ]
        clocks += [r.start for r in state.lost.values()]
        oldest = min([self._strategy.horizon, *clocks]) - self._config.segment_steps
        latest = [*(m.last for m in state.members), *(r.last for r in state.running.values())]
        needed = {snapshot.state for snapshot in latest if snapshot is not None}
        needed |= {r.segment.state for r in state.unended}
        again = state.again
        free = [
            s
            for s in state.snapshots.donors.values()
            if s.state not in needed and (s.member, s.segment) not in again
        ]
        return self._strategy.useless(free, oldest)

    def close(self) -> None:
        """Returns once all of it is gone."""
        self._trash.close()
