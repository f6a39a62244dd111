"""Runs an experiment tracker in its own thread, so that a slow or failing one doesn't stop a search."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from search.cluster.connection import first_line
from search.training.member_runs import MemberRuns

# Maximum number of log calls waiting to be written; further ones are dropped.
WAITING = 20_000
# Seconds that `end` waits for pending log calls.
PATIENCE = 120.0


class Beside:
    """A tracker whose runs are written in a thread of its own.

    Args:
        name: Name of the tracker.
        runs: The tracker's runs, already started.
    """

    def __init__(self, name: str, runs: MemberRuns) -> None:
        self._name = name
        self._runs = runs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tracker-{name}")
        self._under_way: collections.deque[Future[None]] = collections.deque()
        self._failed = False
        self._ended = False
        self._trouble: list[str] = []

    def log(
        self, member: str, figures: Mapping[str, float], labels: Mapping[str, str], env_steps: int
    ) -> None:
        """Does the same as `MemberRuns.log`, without waiting for it."""
        self._look()
        if self._failed:
            return
        if len(self._under_way) >= WAITING:
            self._note("it is too slow: some of what it should show is left out")
            return
        written = self._thread.submit(self._runs.log, member, figures, labels, env_steps)
        self._under_way.append(written)

    def trouble(self) -> list[str]:
        """Returns readable messages about what went wrong since the last call, each only once."""
        told, self._trouble = self._trouble, []
        return told

    def end(self) -> None:
        """Waits up to `PATIENCE` seconds until everything is written; a second call returns at once."""
        if self._ended:
            return
        self._ended = True
        self._under_way.append(self._thread.submit(self._runs.end))
        wait(self._under_way, timeout=PATIENCE)
        self._look()
        if self._under_way and not self._failed:
            self._note("it is too slow: what it had not yet written is left out")
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> None:
        """Removes finished log calls from the queue; the first failure stops the tracker."""
        while self._under_way and self._under_way[0].done():
            error = self._under_way.popleft().exception()
            if error is not None and not self._failed:
                self._failed = True
                self._note(
                    f"{type(error).__name__}: {first_line(error)} The search goes on without it."
                )

    def _note(self, what: str) -> None:
        told = f"trackers.{self._name}: {what}"
        if told not in self._trouble:
            self._trouble.append(told)
