"""A policy's lineage: the hyperparameters that trained it, from its birth to its snapshot."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.store.archive import Hyperparameter, Snapshot

# Planned settings of each segment, by member and segment.
Plans = Mapping[tuple[int, int], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Stage:
    """The part of a policy's training in one segment.

    Attributes:
        hyperparameters: Hyperparameters by path.
        start: Lineage's clock at the start of the stage, in env steps.
        stop: Lineage's clock at the end of the stage, in env steps.
        pruning: The stage's `PruningConfig`, as plain values.
        training: The stage's arguments of `PPOConfig.training`.
    """

    hyperparameters: dict[str, Hyperparameter]
    start: int
    stop: int
    pruning: Mapping[str, Any]
    training: Mapping[str, Any]


def ancestors(snapshot: Snapshot, by_id: Mapping[str, Snapshot]) -> list[str]:
    """Returns the ids of the snapshots that a snapshot's segments started from, the youngest first."""
    chain: list[str] = []
    parent = snapshot.parent
    while parent and parent not in chain:
        chain.append(parent)
        parent = by_id[parent].parent if parent in by_id else ""
    return chain


def plans_of(events: Iterable[Mapping[str, Any]]) -> Plans:
    """Returns the plan of each segment from the events; the latest if a segment was started again."""
    begun = (e for e in events if e.get("event") == "start" and "plan" in e)
    return {(int(e["member"]), int(e["segment"])): e["plan"] for e in begun}


def lineage(snapshot: Snapshot, by_id: Mapping[str, Snapshot], plans: Plans) -> tuple[Stage, ...]:
    """Returns the recipe of a policy: all stages of its training, in order.

    Args:
        snapshot: Snapshot of the policy.
        by_id: Snapshots of the archive by id.
        plans: Plan of each segment, as returned by `plans_of`.

    Returns:
        One stage per segment; each starts where the previous one stopped, the first at 0.

    Raises:
        ResultsError: The archive lacks an ancestor or a plan, or the ancestors' clocks don't rise.
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
