"""A policy's lineage: with which hyperparameters it was trained, from its birth to where it stands."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.store.archive import Hyperparameter, Snapshot

# What a segment was handed out with, by member and segment.
Plans = Mapping[tuple[int, int], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a policy passed in one segment.

    Attributes:
        hyperparameters: What it trained with, by path.
        start: Lineage's clock where it began, in env steps.
        stop: Where it ended.
        pruning: The stage's `PruningConfig`, as plain values.
        training: The stage's arguments of `PPOConfig.training`.
    """

    hyperparameters: dict[str, Hyperparameter]
    start: int
    stop: int
    pruning: Mapping[str, Any]
    training: Mapping[str, Any]


def ancestors(snapshot: Snapshot, by_id: Mapping[str, Snapshot]) -> list[str]:
    """The snapshots that a snapshot's segments started from, the youngest first."""
    chain: list[str] = []
    parent = snapshot.parent
    while parent and parent not in chain:
        chain.append(parent)
        parent = by_id[parent].parent if parent in by_id else ""
    return chain


def plans_of(events: Iterable[Mapping[str, Any]]) -> Plans:
    """What each segment was handed out with; of one that was handed out again, the latest."""
    begun = (e for e in events if e.get("event") == "start" and "plan" in e)
    return {(int(e["member"]), int(e["segment"])): e["plan"] for e in begun}


def lineage(snapshot: Snapshot, by_id: Mapping[str, Snapshot], plans: Plans) -> tuple[Stage, ...]:
    """The recipe of a policy: all that trained it, in order.

    Args:
        snapshot: The policy.
        by_id: The archive.
        plans: What each segment was planned to train with (see `plans_of`).

    Returns:
        One stage a segment, each from where the one before it stopped; the first from 0.

    Raises:
        ResultsError: The archive doesn't hold all of its ancestors or plans, or their clocks don't rise.
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
    unknown = [s.snapshot_id for s in passed if (s.member, s.segment) not in plans]
    if unknown:
        raise ResultsError(
            f"{snapshot.snapshot_id}: events.jsonl doesn't hold what {unknown[0]} was trained with. "
            "Without it the recipe is unknown; choose other --points."
        )
    return tuple(_stage(s, start, plans) for start, s in zip(clocks, passed, strict=False))


def _stage(snapshot: Snapshot, start: int, plans: Plans) -> Stage:
    plan = plans[snapshot.member, snapshot.segment]
    return Stage(
        dict(snapshot.hyperparameters), start, snapshot.env_steps, plan["pruning"], plan["training"]
    )
