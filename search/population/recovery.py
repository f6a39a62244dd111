"""Restores a search's state from its archive, the only thing needed to go on.

A segment that had begun and not ended is lost: it will be trained again from its recorded plan – same
start, seeds and hyperparameters, so the same snapshots. What it had trained counts as spent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from search.population.events import Event, SegmentEvent, Start, event_of
from search.population.state import State
from search.store.archive import Archive, Snapshot


def replay(archive: Archive, members: int, floor: float = -math.inf) -> State:
    """Reads where a search stands.

    Training that no line tells of is not counted: at most that since a running segment's last
    snapshot, for each time that the search was killed.

    Args:
        archive: The archive in its results folder.
        members: In the population.
        floor: Mean return that a policy must exceed to be feasible.
    """
    state = State(members, floor)
    for record in records_of(archive.events(), archive.snapshots()):
        state.apply(record)
    return state


def records_of(
    events: Iterable[Mapping[str, Any]], snapshots: Sequence[Snapshot]
) -> Iterator[Event | Snapshot]:
    """Merges the records of two files in an order in which they may have been written.

    A snapshot comes before what is told later of its segment: clocks say what is later. It comes before
    whatever starts from it, and after all snapshots that stand above it.

    Args:
        events: Lines of `events.jsonl`.
        snapshots: The records of `snapshots.jsonl`.
    """
    by_id = {s.snapshot_id: i for i, s in enumerate(snapshots)}
    own: dict[tuple[int, int], list[int]] = {}
    for i, s in enumerate(snapshots):
        own.setdefault((s.member, s.segment), []).append(i)
    told = 0
    for line in events:
        event = event_of(line)
        if event is None:
            continue
        before = [-1]
        if isinstance(event, Start):
            before.append(by_id.get(event.plan["parent"], -1))
        elif isinstance(event, SegmentEvent):
            mine = own.get((event.member, event.segment), ())
            before += [i for i in mine if snapshots[i].env_steps <= event.env_steps]
        until = max(told, max(before) + 1)
        yield from snapshots[told:until]
        told = until
        yield event
    yield from snapshots[told:]
