"""A member's training between two exploit/explore decisions, described in plain values.

Imports neither Ray nor torch: whoever plans segments need not be able to run them.
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
        seed: Fixes everything that is drawn in this segment: environments, actions, minibatches. RLlib's
            environments take seed, seed + 1, …, so seeds of different segments must lie far apart.
        pruning: A `PruningConfig` as plain values.
        training: Keyword arguments for `PPOConfig.training`.
        until_env_steps: Lineage's clock at which the segment ends.
        evaluation_seeds: One episode each at every evaluation.
        state: Folder of the training state to start from, relative to the results folder; "" for a
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
        """Plain values for a trial's config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; other keys are ignored."""
        known = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        known["evaluation_seeds"] = tuple(known["evaluation_seeds"])
        return cls(**known)


def config_of(segments: Iterable[Segment]) -> dict[str, Any]:
    """The config of a trial that trains segments together."""
    return {SEGMENTS: [segment.to_dict() for segment in segments]}


def segments_of(config: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments of a trial: of several that are trained together, or of one by itself."""
    if SEGMENTS not in config:
        return (Segment.from_dict(config),)
    return tuple(Segment.from_dict(values) for values in config[SEGMENTS])


def member_name(member: int) -> str:
    """The name of a member; sorts by number. Baselines are no members: below 0."""
    if member < DENSE:
        return f"baseline{DENSE - member:04d}"
    return "dense" if member == DENSE else f"m{member:02d}"


def segment_name(member: int, segment: int) -> str:
    """The name of a segment; sorts by member and time."""
    return f"{member_name(member)}-s{segment:03d}"


def snapshot_name(member: int, segment: int, iteration: int) -> str:
    """The id of a snapshot; sorts by member and time."""
    return f"{segment_name(member, segment)}-i{iteration:04d}"


def iteration_of(snapshot_id: str) -> int:
    """The training iteration that `snapshot_name` was given; 0 for other names and ""."""
    digits = snapshot_id.rpartition("-i")[2]
    return int(digits) if digits.isdecimal() else 0


# The "member" that trains the dense baseline.
DENSE = -1
# Where the config of a trial that trains segments together holds them, and its result theirs.
SEGMENTS = "segments"
MEMBERS = "members"
