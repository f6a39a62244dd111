"""Processes that are measured in turns: each waits, costing nothing, while another one works.

Only Python's own library is imported here, so that a peer's environment can run it too.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# A line that isn't an answer may come from a library.
ANSWER = "answer "
# Of what a process that ended said last.
TAIL = 20

Answer = dict[str, Any]
Turns = dict[str, list[Answer]]


class ContenderError(RuntimeError):
    """A process ended before it answered.

    Attributes:
        reason: The last line that it wrote to its standard error, or its exit status.
    """

    def __init__(self, name: str, status: int, said: str) -> None:
        lines = said.strip().splitlines()[-TAIL:]
        self.reason = lines[-1] if lines else f"it ended with status {status}"
        super().__init__("\n".join([f"{name}: ended with status {status}.", *lines]))


class Contender:
    """A process that works when it is told to.

    Args:
        name: In tables.
        command: Starts it; what it runs ends in `take_turns`.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._files = contextlib.ExitStack()
        # What it tells on the way can be more than a pipe holds.
        folder = self._files.enter_context(tempfile.TemporaryDirectory())
        self._errors = Path(folder) / "errors"
        errors = self._files.enter_context(self._errors.open("w"))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=one_thread(),
        )

    def work(self, seconds: float) -> Answer:
        """Lets it work, the others being still.

        Args:
            seconds: How long, on the clock.

        Returns:
            "steps" done, "wall" and "cpu" seconds taken, "adam_steps" that each member took,
            "megabytes" at most resident so far, "first", the seconds that its very first iteration
            took, and what the process adds.

        Raises:
            ContenderError: It ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # It may have ended before it was told.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        answer = answer_in(self._process.stdout)
        if answer is None:
            status = self._process.wait()
            raise ContenderError(self.name, status, self._errors.read_text(errors="replace"))
        return answer

    def stop(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._files.close()


def in_turns(
    needed: Mapping[str, Sequence[str]],
    others: Mapping[str, Sequence[str]],
    rounds: int,
    seconds: float,
) -> tuple[Turns, dict[str, str]]:
    """Lets processes take turns, in an order that turns from round to round.

    Args:
        needed: By name, what starts those that have to run.
        others: By name, what starts those that may be left out.
        rounds: Turns of each that count; one before them doesn't: it loads code and fills caches.
        seconds: Of a turn.

    Returns:
        By name, the answers, one a round; and by the names of those left out, why they ended.

    Raises:
        ContenderError: One that has to run ended, or any after its first turn.
    """
    contenders: dict[str, Contender] = {}
    left_out: dict[str, str] = {}
    try:
        for name, command in {**needed, **others}.items():
            contenders[name] = Contender(name, command)
            try:
                contenders[name].work(seconds)
            except ContenderError as error:
                if name in needed:
                    raise
                left_out[name] = error.reason
                contenders.pop(name).stop()
        turns: Turns = {name: [] for name in contenders}
        names = list(contenders)
        for i in range(rounds):
            first = i % len(names)
            for name in names[first:] + names[:first]:
                turns[name].append(contenders[name].work(seconds))
    finally:
        for contender in contenders.values():
            contender.stop()
    return turns, left_out


def answer_in(lines: Iterable[str]) -> Answer | None:
    """The first answer among lines that a process printed; None where they end without one."""
    for line in lines:
        if line.startswith(ANSWER):
            answer: Answer = json.loads(line.removeprefix(ANSWER))
            return answer
    return None


def take_turns(
    train: Callable[[], int],
    adam_steps: Callable[[], int],
    more: Callable[[float, int], dict[str, Any]] = lambda *_: {},
) -> None:
    """Works whenever a line on standard input says for how many seconds, until it is closed.

    Args:
        train: Trains for an iteration; returns its env steps.
        adam_steps: How many each member has taken so far.
        more: Given a turn's CPU seconds and env steps, what else there is to say of it.
    """
    first: float | None = None
    for line in sys.stdin:
        if first is None:
            # Its env steps count for no turn: what is compiled here, or loaded, is so once.
            began = time.perf_counter()
            train()
            first = time.perf_counter() - began
        seconds, steps, taken = float(line), 0, adam_steps()
        wall, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            steps += train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer = {
            "steps": steps,
            "wall": wall,
            "cpu": cpu,
            "adam_steps": adam_steps() - taken,
            "first": first,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(ANSWER + json.dumps({**answer, **more(cpu, steps)}), flush=True)


def one_thread() -> dict[str, str]:
    """This process's environment variables, and those that keep numeric libraries to one thread."""
    asked = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {asked}".strip(),
    }


def stay_on_one_core() -> None:
    """Binds this process to the first core that it may use, where the system can.

    Threads that libraries began when they were imported are bound, too; later ones inherit it.
    """
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        for thread in Path("/proc/self/task").iterdir():
            # One may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})
