"""The events that change a search's state: typed records of `events.jsonl`.

Further kinds stand there too: those of strategies say why something was decided, and change nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from rllib_ext.member.segment import DENSE
from search.config.space import Values
from search.store.archive import Record


class Event(Record):
    """Something that happened."""

    @property
    def kind(self) -> str:
        """Name of the event in the file."""
        return type(self).__name__.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentEvent(Event):
    """Something that happened to a segment.

    Attributes:
        member: Member of the segment; `DENSE` for the dense baseline.
        segment: Index of the segment.
        env_steps: The lineage's clock.
    """

    member: int
    segment: int
    env_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start(SegmentEvent):
    """A segment begins, or begins again after it was lost.

    Attributes:
        hyperparameters: By path.
        plan: The `Segment`, as plain values.
    """

    hyperparameters: Values
    plan: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iteration(SegmentEvent):
    """An iteration of the dense baseline, or one whose snapshot an earlier attempt had made."""

    evaluation_env_steps: int

    @override
    @property
    def kind(self) -> str:
        return "dense" if self.member == DENSE else "repeat"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry(SegmentEvent):
    """An attempt failed; the segment begins again at once."""

    error: str


class Lost(SegmentEvent):
    """The search ended while the segment was trained; it will be repeated."""


class End(SegmentEvent):
    """The segment was trained to its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure(SegmentEvent):
    """The segment failed for good."""

    error: str


class Revived(Event):
    """A search that had given up all of its members tries them once more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Again(Event):
    """In folders of earlier versions: a segment that was over trained again, with others of its pack."""

    member: int
    env_steps: int
    evaluation_env_steps: int


_KINDS: dict[object, type[Event]] = {
    **{k.__name__.lower(): k for k in (Start, Retry, Lost, End, Failure, Revived, Again)},
    **dict.fromkeys(("dense", "repeat"), Iteration),
}


def event_of(line: Mapping[str, Any]) -> Event | None:
    """The event that a line of `events.jsonl` tells; None: it changes nothing.

    Raises:
        ResultsError: The line lacks something, or was written by another version.
    """
    kind = _KINDS.get(line.get("event"))
    # Baselines that fail are named, not numbered.
    if kind is None or isinstance(line.get("member"), str):
        return None
    return kind.from_json(line)
