"""Trains a coordinator's segments in this process, without a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.trainable import PackTrainable
from search.population.coordinator import Coordinator
from search.training.segment_scheduler import SegmentScheduler


class _Pack(PackTrainable):
    """A pack in this process, without Tune."""

    def __init__(self, settings: MemberSettings) -> None:
        self._given = settings
        self._pack = None

    def train_trial(self, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Trains a trial's segments, and yields the result of each iteration."""
        if self._pack is None:
            self.setup(config, self._given)
        else:
            self.reset_config(config)
        done = False
        while not done:
            result = self.step()
            done = result["segment_done"]
            yield result


def train(coordinator: Coordinator, settings: MemberSettings, size: int) -> None:
    """Trains until the coordinator has nothing left, one pack at a time.

    Args:
        coordinator: Decides what is trained.
        settings: Settings that all members share.
        size: Largest number of members in a pack.
    """
    scheduler = SegmentScheduler(coordinator, slots=1, on_progress=lambda: None, pack=size)
    packs: dict[int, _Pack] = {}
    for number in itertools.count():
        trial = str(number)
        config = scheduler.suggest(trial)
        if scheduler.error is not None:
            raise scheduler.error
        if not isinstance(config, dict):
            break
        width = len(config["segments"])
        pack = packs.setdefault(width, _Pack(settings))
        *others, last = pack.train_trial(config)
        for result in others:
            scheduler.on_trial_result(trial, result)
        scheduler.on_trial_complete(trial, last)
    for pack in packs.values():
        pack.cleanup()
    coordinator.close()


def settings_of(folder: Path, ppo: Any, interval: int, initial: str = "") -> MemberSettings:
    """Returns settings of members that write into a folder and are evaluated every few iterations.

    Args:
        folder: The folder.
        ppo: PPO configuration shared by all members.
        interval: Iterations between evaluations.
        initial: File of the state that members start from; empty for fresh weights.
    """
    return MemberSettings(
        folder=str(folder), ppo_config=ppo, evaluation_interval=interval, initial=initial
    )
