"""Measures processes in turns: each waits, at no cost, while another one works.

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

# Prefix of an answer; libraries may print other lines.
ANSWER = "answer "
# Number of last lines of a failed process's output that are shown.
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
    """A process that works on request.

    Args:
        name: Name of the process in tables.
        command: Command that starts it; the program must end in `take_turns`.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._files = contextlib.ExitStack()
        # Its messages can be more than a pipe holds.
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
        """Lets the process work while the others are idle.

        Args:
            seconds: Duration in wall-clock seconds.

        Returns:
            "steps" done, "wall" and "cpu" seconds taken, "adam_steps" that each member took, "megabytes"
            resident at most so far, "first", the seconds that its very first iteration took, and what
            the process adds.

        Raises:
            ContenderError: The process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # It may have ended before the request.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        answer = answer_in(self._process.stdout)
        if answer is None:
            status = self._process.wait()
            raise ContenderError(self.name, status, self._errors.read_text(errors="replace"))
        return answer

    def stop(self) -> None:
        """Ends the process."""
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
    """Lets processes take turns, in an order that rotates from round to round.

    Args:
        needed: By name, the commands that start the processes that must run.
        others: By name, the commands that start those that may be left out.
        rounds: Turns of each process that count; one turn before them, which loads code and fills
            caches, doesn't.
        seconds: Duration of a turn.

    Returns:
        By name, the answers, one per round; and by name of each process left out, why it ended.

    Raises:
        ContenderError: A needed process ended, or any process after its first turn.
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
    """Returns the first answer among lines that a process printed, or None if there is none."""
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
    """Works for as many seconds as each line on standard input says, until it is closed.

    Args:
        train: Trains for an iteration; returns its env steps.
        adam_steps: Returns the number of steps that each member has taken so far.
        more: Returns further entries of an answer, given a turn's CPU seconds and env steps.
    """
    first: float | None = None
    for line in sys.stdin:
        if first is None:
            # Its env steps belong to no turn, because compiling and loading happen only once.
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
    """Returns this process's environment variables, plus those that limit libraries to one thread."""
    asked = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {asked}".strip(),
    }


def stay_on_one_core() -> None:
    """Binds this process to the first core that it may use, if the system supports that.

    Threads that libraries started when they were imported are bound too; later ones inherit it.
    """
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        for thread in Path("/proc/self/task").iterdir():
            # A thread may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})
