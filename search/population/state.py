"""The state of a search, built from its log: `State.apply` takes one record after another.

The log are the lines of `events.jsonl` and `snapshots.jsonl`. Whoever runs the search appends a record,
then applies it; whoever resumes it only applies: each transition is written once, here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from rllib_ext.member.segment import DENSE, Segment
from search.config.space import Values
from search.population.events import (
    Again,
    End,
    Event,
    Failure,
    Iteration,
    Lost,
    Retry,
    Revived,
    SegmentEvent,
    Start,
)
from search.population.member import Member
from search.population.progress import BestSoFar
from search.population.register import Register
from search.store.archive import Snapshot


@dataclasses.dataclass
class Running:
    """A segment that is being trained, or is to be trained again.

    Attributes:
        segment: The segment in training.
        hyperparameters: By path.
        start: The lineage's clock where it started.
        env_steps: The lineage's clock, as the log tells.
        heard: The lineage's clock, as last heard: iterations that weren't evaluated have no record.
        last: The last snapshot that came of it.
    """

    segment: Segment
    hyperparameters: Values
    start: int
    env_steps: int
    heard: int
    last: Snapshot | None = None

    @property
    def at(self) -> dict[str, int]:
        """Fields that identify it in events: member, segment and env steps."""
        segment = self.segment
        return {"member": segment.member, "segment": segment.segment, "env_steps": self.heard}


class State:
    """Where a search stands.

    Args:
        members: In the population.
        floor: Mean return that a policy must exceed to be feasible; −∞ where it isn't known.

    Attributes:
        members: State of each member.
        running: Segments in training by member, the dense baseline's too, in the order they began.
        lost: Segments of members that are to be trained again, by member, in the order they were lost.
        snapshots: Those that are still asked for.
        made: Snapshots in all.
        seconds: Since the search began, when the last of them was made.
        so_far: The best of all.
        failures: Segments that failed, with the reason.
        ended: The trial of the segment that ended well last, and its last snapshot: the one trial that
            the study may not have heard of.
    """

    def __init__(self, members: int, floor: float = -math.inf) -> None:
        self.members = [Member(i) for i in range(members)]
        self.running: dict[int, Running] = {}
        self.lost: dict[int, Running] = {}
        self.snapshots = Register()
        self.made = 0
        self.seconds = 0.0
        self.so_far = BestSoFar([], floor)
        self.failures: list[dict[str, Any]] = []
        self.ended: tuple[int, Snapshot] | None = None
        self._booked = {"training": 0, "baselines": 0, "evaluation": 0}

    @property
    def spent(self) -> dict[str, int]:
        """Env steps: training of members, of the dense baseline, evaluation during the search.

        Lost and repeated ones count too.
        """
        spent = dict(self._booked)
        for member, running in self.running.items():
            spent[_purpose(member)] += running.heard - running.env_steps
        return spent

    @property
    def unended(self) -> list[Running]:
        """Segments in training, and those that are to be trained again."""
        return [*self.running.values(), *self.lost.values()]

    @property
    def again(self) -> set[tuple[int, int]]:
        """Member and segment of those."""
        return {(r.segment.member, r.segment.segment) for r in self.unended}

    def apply(self, record: Event | Snapshot) -> None:
        """Takes the next record of the log."""
        match record:
            case Snapshot():
                self._take_snapshot(record)
            case Start():
                self._start(record)
            case Revived():
                for member in self.members:
                    member.revive()
            case Again():
                self._booked[_purpose(record.member)] += record.env_steps
                self._booked["evaluation"] += record.evaluation_env_steps
            case SegmentEvent() if record.member in self.running:
                self._go_on(record, self.running[record.member])

    def leave_out_gone(self, on_disk: Collection[str]) -> None:
        """Leaves out what has to start from a training state that is gone.

        A lost segment can't begin otherwise either: its snapshots' names are taken.

        Args:
            on_disk: Policies and training states, relative to the results folder.
        """
        self.snapshots.keep((s.only_in(on_disk) for s in self.snapshots.held), self.again)
        donors = self.snapshots.donors
        for member in self.members:
            if member.last is not None and member.last.snapshot_id not in donors:
                member.last = member.previous = None
        for index, lost in list(self.lost.items()):
            if lost.segment.parent and lost.segment.parent not in donors:
                self.members[index].segment = lost.segment.segment + 1
                del self.lost[index]

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        is_new = self.snapshots.get(snapshot.snapshot_id) is None
        held = self.snapshots.put(snapshot)
        self.seconds = max(self.seconds, snapshot.wall_time)
        if is_new:
            self.made += 1
            self.so_far.add(snapshot)
            self._booked["evaluation"] += sum(snapshot.lengths)
        running = self.running.get(snapshot.member)
        if running is not None and running.segment.segment == snapshot.segment:
            if is_new:
                self._advance(running, snapshot.env_steps)
            running.last = held

    def _start(self, event: Start) -> None:
        clock, segment = event.env_steps, Segment.from_dict(event.plan)
        self.running[event.member] = Running(segment, event.hyperparameters, clock, clock, clock)
        if event.member != DENSE:
            self.lost.pop(event.member, None)
            self.members[event.member].segment = event.segment
            self.members[event.member].env_steps = clock

    def _go_on(self, event: SegmentEvent, running: Running) -> None:
        self._advance(running, event.env_steps)
        if isinstance(event, Iteration):
            self._booked["evaluation"] += event.evaluation_env_steps
            if event.member != DENSE:
                running.last = self.snapshots.renew(event.member, event.segment, event.env_steps)
            return
        running.env_steps = running.heard = running.start
        if isinstance(event, Retry):
            return
        del self.running[event.member]
        if isinstance(event, Failure):
            told = {"member": event.member, "segment": event.segment, "error": event.error}
            self.failures.append(told)
        if event.member == DENSE:
            return
        member, last = self.members[event.member], running.last
        if isinstance(event, Failure):
            member.fail()
        elif isinstance(event, End) and last is not None and last.env_steps == event.env_steps:
            self._end(member, running, last)
        elif isinstance(event, End | Lost):
            running.last = None
            self.lost[event.member] = running

    def _end(self, member: Member, running: Running, last: Snapshot) -> None:
        segment, source = running.segment, self.snapshots.get(running.segment.parent)
        self.ended = segment.trial_number, last
        member.segment += 1
        member.failures = 0
        member.env_steps = last.env_steps
        member.hyperparameters = running.hyperparameters
        member.trial_number = segment.trial_number
        # A donor is known without what was seen episode by episode.
        member.previous = None if source is None else source.without_details()
        member.last = last.without_details()

    def _advance(self, running: Running, env_steps: int) -> None:
        self._booked[_purpose(running.segment.member)] += env_steps - running.env_steps
        running.env_steps = running.heard = env_steps


def _purpose(member: int) -> str:
    return "baselines" if member == DENSE else "training"
