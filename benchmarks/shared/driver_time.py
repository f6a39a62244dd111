"""Measures the time that Tune's loop spends on results in a search's driver."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback

from search.training.segment_scheduler import SegmentScheduler

# Seconds spent waiting so far.
WAITED = [0.0]


def count_waiting() -> None:
    """Makes `ray.wait` add up the time that the driver waits for trainables."""
    wait = ray.wait

    def waiting(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return wait(*arguments, **named)
        finally:
            WAITED[0] += time.perf_counter() - began

    ray.wait = waiting


def resident() -> float:
    """Returns this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


@dataclasses.dataclass
class Meter(Callback):
    """Callback that records when each result has been processed, and the driver's memory.

    Attributes:
        expected: Number of results in all.
        times: Seconds between each result and the next.
        memory: MiB at a tenth and half of the results, at the last, and once Tune has read them back.
        actors: Ids of the processes that results came from.
        cpu: CPU seconds of the driver's thread per result.
    """

    expected: int
    times: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)
    actors: set[int] = dataclasses.field(default_factory=set)
    last: float = 0.0
    cpu: float = 0.0

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **i: Any
    ) -> None:
        now = time.perf_counter() - WAITED[0]
        self.actors.add(result["pid"])
        if self.last:
            self.times.append(now - self.last)
        else:
            self.cpu = time.thread_time()
        self.last = now
        if len(self.times) in (self.expected // 10, self.expected // 2):
            self.memory.append(resident())

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        self.memory.append(resident())


class TimedScheduler(SegmentScheduler):
    """Our scheduler, which also records the time that it takes between one result and the next."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.times: list[float] = []
        self._since = 0.0

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self._since += time.perf_counter() - began

    def suggest(self, trial_id: str) -> Any:
        return self._timed(super().suggest, trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._timed(super().on_trial_result, trial_id, result)
        self.times.append(self._since)
        self._since = 0.0

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # Calls `on_trial_result`, which books a last result; the segment's end counts for the next.
        super().on_trial_complete(trial_id, result, error)

    def _end(self, trial_id: str, reason: str) -> None:
        self._timed(super()._end, trial_id, reason)
