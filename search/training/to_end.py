"""Trains segments of baselines to their end in this process."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.member.segment import MEMBERS, Segment, config_of
from rllib_ext.member.trainable import MemberSettings, MemberTrainable
from rllib_ext.packed.trainable import PackTrainable
from search.training.narrow_pack import cut_out, narrow_starts


def train_to_end(
    settings: MemberSettings,
    segments: Sequence[Segment],
    packed: bool,
    narrow: Sequence[PPOConfig] = (),
) -> list[dict[str, Any]]:
    """Trains segments to their end in this process.

    Args:
        settings: Settings shared by all segments.
        segments: Segments to train; exactly one if they aren't packed.
        packed: Whether a pack trains them; otherwise RLlib does.
        narrow: PPO configuration of each segment's own, narrower network in the pack; empty if all have
            the network of `settings`.

    Returns:
        The last result of each segment, in the same order. "snapshot" is a dictionary, or is missing if
        the segment failed.
    """
    with contextlib.ExitStack() as stack:
        if narrow:
            starts = narrow_starts(settings.ppo_config, segments, narrow)
            segments = stack.enter_context(starts)
        results = _trained(settings, segments, packed)
    for result, own in zip(results, narrow, strict=False):
        if result.get("snapshot"):
            folder = Path(settings.folder) / result["snapshot"]["checkpoint"]
            result["snapshot"] = cut_out(folder, own, result["snapshot"])
    return results


def _trained(
    settings: MemberSettings, segments: Sequence[Segment], packed: bool
) -> list[dict[str, Any]]:
    kind: Any = PackTrainable if packed else MemberTrainable
    # `__init__` is skipped because Tune's version creates folders for its loggers.
    trainable = kind.__new__(kind)
    trainable.setup(config_of(segments) if packed else segments[0].to_dict(), settings)
    last: dict[int, dict[str, Any]] = {}
    try:
        over = False
        while not over:
            result = trainable.step()
            over = result["segment_done"]
            listed = json.loads(result[MEMBERS]) if packed else [_unpacked(result)]
            last |= {member["member"]: member for member in listed}
    finally:
        trainable.cleanup()
    return [last[segment.member] for segment in segments]


def _unpacked(result: dict[str, Any]) -> dict[str, Any]:
    if "snapshot" not in result:
        return result
    return {**result, "snapshot": json.loads(result["snapshot"])}
