"""Describes a member's training between two exploit/explore decisions in plain values.

Imports neither Ray nor torch, so that segments can be planned without them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A member's training between two exploit/explore decisions.

    Attributes:
        member: Index of the member.
        segment: Index of the member's segment.
        trial_number: The segment's trial in the Optuna study; −1 without a study.
        seed: Seed of all random draws in this segment: environments, actions, minibatches. RLlib's
            environments use seed, seed + 1, …, so seeds of different segments must be far apart.
        pruning: A `PruningConfig` as plain values.
        training: Keyword arguments for `PPOConfig.training`.
        until_env_steps: Value of the lineage's clock at which the segment ends.
        evaluation_seeds: Seeds of the episodes of every evaluation, one each.
        state: Folder of the training state to start from, relative to the results folder; empty for a
            fresh policy.
        parent: `snapshot_id` of that state.
    """

    member: int
    segment: int
    trial_number: int
    seed: int
    pruning: dict[str, Any]
    training: dict[str, Any]
    until_env_steps: int
    evaluation_seeds: tuple[int, ...]
    state: str = ""
    parent: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the segment as plain values for a trial's config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a segment from the values of `to_dict`; other keys are ignored."""
        known = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        known["evaluation_seeds"] = tuple(known["evaluation_seeds"])
        return cls(**known)


def config_of(segments: Iterable[Segment]) -> dict[str, Any]:
    """Returns the config of a trial that trains segments together."""
    return {SEGMENTS: [segment.to_dict() for segment in segments]}


def segments_of(config: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Returns the segments in a trial's config, which holds several segments or a single one."""
    if SEGMENTS not in config:
        return (Segment.from_dict(config),)
    return tuple(Segment.from_dict(values) for values in config[SEGMENTS])


def member_name(member: int) -> str:
    """Returns the name of a member, which sorts by number. Numbers below 0 are those of baselines."""
    if member < DENSE:
        return f"baseline{DENSE - member:04d}"
    return "dense" if member == DENSE else f"m{member:02d}"


def segment_name(member: int, segment: int) -> str:
    """Returns the name of a segment, which sorts by member and time."""
    return f"{member_name(member)}-s{segment:03d}"


def snapshot_name(member: int, segment: int, iteration: int) -> str:
    """Returns the id of a snapshot, which sorts by member and time."""
    return f"{segment_name(member, segment)}-i{iteration:04d}"


def iteration_of(snapshot_id: str) -> int:
    """Returns the training iteration in a name from `snapshot_name`; 0 for other or empty names."""
    digits = snapshot_id.rpartition("-i")[2]
    return int(digits) if digits.isdecimal() else 0


# Member number of the dense baseline.
DENSE = -1
# Keys of the segments in the config of a trial that trains several, and of their results in its result.
SEGMENTS = "segments"
MEMBERS = "members"
