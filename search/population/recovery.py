"""Where a search stands, read from its archive: nothing else is needed to go on.

A segment that had begun and not ended is lost: it will be trained again from its recorded plan – same
start, seeds and hyperparameters, so the same snapshots. What it had trained counts as spent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from rllib_ext.member.segment import DENSE, Segment
from search.config.space import Values
from search.population.member import Member
from search.store.archive import Archive, Snapshot

# In folders of earlier versions: an iteration of a segment that was over, trained again with its pack.
AGAIN = "again"
# The event of a search that had given up all of its members, and tries them once more.
REVIVED = "revived"


@dataclasses.dataclass
class Running:
    """A segment that is being trained.

    Attributes:
        segment: The segment in training.
        hyperparameters: By path.
        source: Where it started; None: a birth.
        env_steps: The lineage's clock, as last heard.
        last: The last snapshot that came of it.
    """

    segment: Segment
    hyperparameters: Values
    source: Snapshot | None
    env_steps: int
    last: Snapshot | None = None

    @property
    def start(self) -> int:
        """The lineage's clock where it started."""
        return self.source.env_steps if self.source else 0

    def snapshot(self, values: Mapping[str, Any], seconds: float, floor: float) -> Snapshot:
        """A snapshot that came of it.

        Args:
            values: As for `Coordinator.tell`.
            seconds: Since the search began.
            floor: Mean return that a policy must exceed to be feasible.
        """
        # The same for all of a segment: thousands of donors are held in memory.
        more = {"wall_time": seconds, "hyperparameters": self.hyperparameters}
        found = Snapshot.from_json({**values, **more})
        if found.usable and found.return_mean <= floor:
            return dataclasses.replace(found, status="infeasible")
        return found


@dataclasses.dataclass
class Past:
    """Where a search stands.

    Attributes:
        members: Where each member stands.
        snapshots: All of the archive.
        lost: Segments of members that had not ended, in the order they had begun.
        unclosed: Those of them, and of the dense baseline, that no event says to be lost.
        ended: The last snapshot of segments that ended well, by trial; the latest of several.
        failures: Segments that failed.
        spent: Training env steps of members.
        dense_env_steps: Of the dense baseline.
        evaluation_env_steps: Evaluation during the search.
    """

    members: list[Member]
    snapshots: list[Snapshot]
    lost: list[Running] = dataclasses.field(default_factory=list)
    unclosed: list[Running] = dataclasses.field(default_factory=list)
    ended: dict[int, Snapshot] = dataclasses.field(default_factory=dict)
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    spent: int = 0
    dense_env_steps: int = 0
    evaluation_env_steps: int = 0

    def spend(self, member: int, env_steps: int) -> None:
        """Books training env steps."""
        if member == DENSE:
            self.dense_env_steps += env_steps
        else:
            self.spent += env_steps


def replay(archive: Archive, members: int) -> Past:
    """Reads where a search stands.

    Training that no line tells of is not counted: at most that since a running segment's last
    snapshot, for each time that the search was killed.

    Args:
        archive: Of its results folder.
        members: In the population.
    """
    snapshots = archive.available()
    past = Past([Member(i) for i in range(members)], snapshots)
    past.evaluation_env_steps = sum(sum(s.lengths) for s in snapshots)
    reader = _Reader(past)
    for event in archive.events():
        reader.take(event)
    reader.finish()
    for member in past.members:
        if member.last is not None and not member.last.state:
            member.last = member.previous = None
    return past


def note_lost(archive: Archive, segments: Iterable[Running]) -> None:
    """Notes how far segments had come that ended too early."""
    for running in segments:
        _note(archive, "lost", running)


def note_clock(
    archive: Archive,
    kind: Literal["dense", "repeat"],
    running: Running,
    result: Mapping[str, Any],
) -> None:
    """Notes an iteration that no line of `snapshots.jsonl` tells of.

    Args:
        archive: Takes the event.
        kind: Of the dense baseline, or of a segment that is trained again.
        running: The segment.
        result: As for `Coordinator.tell`.
    """
    steps = int(result.get("evaluation_env_steps", 0))
    _note(archive, kind, running, evaluation_env_steps=steps)


def _note(archive: Archive, kind: str, running: Running, **values: Any) -> None:
    archive.add_event(
        kind,
        member=running.segment.member,
        segment=running.segment.segment,
        env_steps=running.env_steps,
        **values,
    )


class _Reader:
    """Takes the events of a search in their order."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._known = {s.snapshot_id: s for s in past.snapshots}
        self._own: dict[tuple[int, int], list[Snapshot]] = {}
        for s in past.snapshots:
            self._own.setdefault((s.member, s.segment), []).append(s)
        self._running: dict[int, Running] = {}
        self._lost: dict[int, Running] = {}
        # How far earlier attempts at a segment had come: snapshots up to there are theirs.
        self._reached: dict[tuple[int, int], int] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Takes the next event; kinds that say nothing of where a search stands are passed over."""
        kind, member = event.get("event"), event.get("member")
        if kind == "start" and isinstance(member, int):
            self._start(member, event)
            return
        if kind == AGAIN:
            self._past.spend(int(event["member"]), int(event["env_steps"]))
            self._past.evaluation_env_steps += int(event["evaluation_env_steps"])
            return
        if kind == REVIVED:
            for given_up in self._past.members:
                given_up.revive()
            return
        running = self._running.get(member) if isinstance(member, int) else None
        if running is None or not isinstance(member, int):
            return
        if kind in ("repeat", "dense"):
            running.env_steps = int(event["env_steps"])
            self._past.evaluation_env_steps += int(event["evaluation_env_steps"])
        elif kind in ("retry", "lost", "end", "failure"):
            self._attempt_over(running, int(event["env_steps"]))
            if kind != "retry":
                del self._running[member]
                self._over(running, str(kind), event)

    def _start(self, member: int, event: Mapping[str, Any]) -> None:
        segment = Segment.from_dict(event["plan"])
        source = self._known.get(segment.parent)
        clock = int(event["env_steps"])
        self._running[member] = Running(segment, event["hyperparameters"], source, clock)
        self._lost.pop(member, None)
        if member != DENSE:
            self._past.members[member].segment = segment.segment
            self._past.members[member].env_steps = clock

    def _attempt_over(self, running: Running, env_steps: int) -> None:
        segment = running.segment
        self._past.spend(segment.member, env_steps - running.start)
        key = segment.member, segment.segment
        self._reached[key] = max(self._reached.get(key, 0), env_steps)
        running.env_steps = running.start

    def _over(self, running: Running, kind: str, event: Mapping[str, Any]) -> None:
        segment = running.segment
        if kind == "failure":
            told = {k: event[k] for k in ("member", "segment", "error")}
            self._past.failures.append(told)
        if segment.member == DENSE:
            return
        member = self._past.members[segment.member]
        if kind == "failure":
            member.fail()
            return
        clock = int(event["env_steps"])
        own = self._own.get((segment.member, segment.segment), [])
        running.last = next((s for s in reversed(own) if s.env_steps == clock), None)
        if kind == "lost" or running.last is None:
            running.last = None
            self._lost[segment.member] = running
            return
        self._past.ended[segment.trial_number] = running.last
        member.go_on(running.hyperparameters, running.source, running.last)

    def finish(self) -> None:
        """What was running when the last line was written is lost."""
        for member, running in self._running.items():
            key = member, running.segment.segment
            heard = [s.env_steps for s in self._own.get(key, ())]
            fresh = [clock for clock in heard if clock > self._reached.get(key, -1)]
            running.env_steps = max([running.env_steps, *fresh])
            self._past.spend(member, running.env_steps - running.start)
            self._past.unclosed.append(running)
            if member != DENSE:
                self._lost[member] = running
        for member, running in self._lost.items():
            if running.segment.parent and (running.source is None or not running.source.state):
                # Its start is gone, so it can't be repeated, and its snapshots' names are taken.
                self._past.members[member].segment = running.segment.segment + 1
            else:
                self._past.lost.append(running)
