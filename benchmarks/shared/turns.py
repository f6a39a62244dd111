"""Processes that are measured in turns: each waits, costing nothing, while another one works.

Only Python's own library is imported here, so that a peer's environment can run it too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# A line that isn't an answer may come from a library.
ANSWER = "answer "


class Contender:
    """A process that works when it is told to.

    Args:
        name: In tables.
        command: Starts it; what it runs ends in `take_turns`.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def work(self, seconds: float) -> dict[str, Any]:
        """Lets it work, the others being still.

        Args:
            seconds: How long, on the clock.

        Returns:
            "steps" done, "wall" and "cpu" seconds taken, "megabytes" at most resident so far, and what
            the process adds.

        Raises:
            RuntimeError: It ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                return answer
        raise RuntimeError(f"{self.name}: ended with status {self._process.wait()}.")

    def stop(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def take_turns(
    train: Callable[[], int], more: Callable[[float, int], dict[str, Any]] = lambda *_: {}
) -> None:
    """Works whenever a line on standard input says for how many seconds, until it is closed.

    Args:
        train: Trains for an iteration; returns its env steps.
        more: Given a turn's CPU seconds and env steps, what else there is to say of it.
    """
    for line in sys.stdin:
        seconds, steps = float(line), 0
        wall, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            steps += train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer = {"steps": steps, "wall": wall, "cpu": cpu, "megabytes": megabytes}
        print(ANSWER + json.dumps({**answer, **more(cpu, steps)}), flush=True)


def stay_on_one_core() -> None:
    """Binds this process to the first core that it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
