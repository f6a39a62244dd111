"""A policy's lineage: with which hyperparameters it was trained, from its birth to where it stands."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from rllib_ext.pruning.errors import ResultsError
from search.archive import Hyperparameter, Snapshot


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a policy passed in one segment.

    Attributes:
        hyperparameters: What it trained with, by path.
        start: Lineage's clock where it began, in env steps.
        stop: Where it ended.
    """

    hyperparameters: dict[str, Hyperparameter]
    start: int
    stop: int


def ancestors(snapshot: Snapshot, by_id: Mapping[str, Snapshot]) -> list[str]:
    """The snapshots that a snapshot's segments started from, the youngest first."""
    chain: list[str] = []
    parent = snapshot.parent
    while parent and parent not in chain:
        chain.append(parent)
        parent = by_id[parent].parent if parent in by_id else ""
    return chain


def lineage(snapshot: Snapshot, by_id: Mapping[str, Snapshot]) -> tuple[Stage, ...]:
    """The recipe of a policy: all that trained it, in order.

    Args:
        snapshot: The policy.
        by_id: The archive.

    Returns:
        One stage a segment, each from where the one before it stopped; the first from 0.

    Raises:
        ResultsError: The archive doesn't hold all of its ancestors, or their clocks don't rise.
    """
    ids = [snapshot.snapshot_id, *ancestors(snapshot, by_id)]
    missing = [i for i in ids[1:] if i not in by_id]
    if missing:
        raise ResultsError(
            f"{snapshot.snapshot_id}: its lineage leads to {missing[0]}, which snapshots.jsonl doesn't "
            "hold. Without it the recipe is unknown; choose other --points."
        )
    passed = [snapshot, *(by_id[i] for i in ids[1:])][::-1]
    clocks = [0, *(s.env_steps for s in passed)]
    if any(stop <= start for start, stop in itertools.pairwise(clocks)):
        raise ResultsError(
            f"{snapshot.snapshot_id}: the clocks of its lineage don't rise: {clocks}. The archive was "
            "changed; choose other --points."
        )
    return tuple(
        Stage(dict(s.hyperparameters), start, s.env_steps)
        for start, s in zip(clocks, passed, strict=False)
    )
