"""Measures the latency and size of an exported policy, on this machine with one thread."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ext.export.c_run import FAST, Structs, compiled, structs_of
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program

BATCHES = (1, 64, 4096)
ROUNDS = 101
# A round of these many seconds at least: the clock itself takes tens of nanoseconds.
_ROUND_S = 2e-4
_HARNESS = """
#include <time.h>
#include "{name}.h"

static double now(void) {{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}}

void time_decisions(const {name}_input *in, int inputs, int rounds, int decisions, double *found);

void time_decisions(const {name}_input *in, int inputs, int rounds, int decisions, double *found) {{
    {name}_state state;
    {name}_output out;
    {name}_reset(&state);
    for (int r = 0; r < rounds; r++) {{
        const double start = now();
        for (int d = 0, i = 0; d < decisions; d++) {{
            {name}_act(&state, &in[i], &out);
            if (++i == inputs) i = 0;
        }}
        found[r] = now() - start;
    }}
}}
"""
# What a Cortex-M4 with its floating-point unit is compiled for.
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Microseconds of a call: of one decision, or of a batch of them.

    Attributes:
        median: Median over the rounds.
        p99: Exceeded by one round of a hundred.
        least: Time of the fastest round; the most repeatable figure if other work runs on the machine.
    """

    median: float
    p99: float
    least: float

    def as_json(self) -> dict[str, float]:
        """Rounded to four digits."""
        return {"median_us": float(f"{self.median:.4g}"), "p99_us": float(f"{self.p99:.4g}")}


def timed(
    work: Callable[[], object],
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Times a piece of work, after a round to warm up.

    Args:
        work: Called many times.
        rounds: Number of rounds, ≥ 1; each gives the mean of as many calls as take 0.2 ms.
        clock: Seconds.
    """
    work()
    started = clock()
    work()
    calls = max(1, int(_ROUND_S / max(clock() - started, 1e-9)))
    found = []
    for _ in range(rounds):
        started = clock()
        for _ in range(calls):
            work()
        found.append((clock() - started) / calls * 1e6)
    return _timing(np.array(found))


def _timing(rounds: Array) -> Timing:
    return Timing(
        median=float(np.median(rounds)),
        p99=float(np.percentile(rounds, 99)),
        least=float(rounds.min()),
    )


def batch_feeds(
    program: Program, observed: Sequence[Mapping[str, Array]], size: int
) -> dict[str, Array]:
    """Returns a batch of inputs: recorded observations, repeated, and initial states.

    Args:
        program: Program that is run.
        observed: Recorded inputs by name, without a batch axis.
        size: The batch's size.
    """
    feeds = {
        name: np.stack([observed[i % len(observed)][name] for i in range(size)])
        for name in observed[0]
    }
    for carried in program.carried:
        feeds[carried.name] = np.repeat(carried.initial[None], size, 0)
    return feeds


def run_latency(
    run: Callable[[dict[str, Array]], object],
    program: Program,
    observed: Sequence[Mapping[str, Array]],
    batches: Sequence[int] = BATCHES,
) -> dict[int, Timing]:
    """Times a form that takes batches, by their size."""
    found = {}
    for size in batches:
        feeds = batch_feeds(program, observed, size)
        found[size] = timed(lambda feeds=feeds: run(feeds))  # type: ignore[misc]
    return found


def c_latency(
    program: Program,
    numbers: Numbers,
    source: Path,
    observed: Sequence[Mapping[str, Array]],
    batches: Sequence[int] = BATCHES,
    *,
    cc: str | None = None,
    rounds: int = ROUNDS,
) -> dict[int, Timing]:
    """Times a policy in C, called from C; a batch is as many decisions in a row.

    Args:
        program: Program that the code computes.
        numbers: How.
        source: Its .c file, with the header beside it.
        observed: Inputs by name, without a batch axis.
        batches: Sizes.
        cc: The compiler; None: this machine's.
        rounds: Number of rounds for each batch size.

    Raises:
        ExportError: There is no compiler, or it refuses the source.
    """
    measure = c_timer(program, numbers, source, observed, cc=cc)
    return {size: measure(size, rounds) for size in batches}


def c_timer(
    program: Program,
    numbers: Numbers,
    source: Path,
    observed: Sequence[Mapping[str, Array]],
    *,
    cc: str | None = None,
) -> Callable[[int, int], Timing]:
    """Compiles a policy in C to be timed again and again; arguments and errors as `c_latency`.

    Returns:
        Times decisions in a row, given how many make a batch and how many times are taken.
    """
    structs: Structs = structs_of(program, numbers)
    with tempfile.TemporaryDirectory(prefix="prunefront-") as scratch:
        folder = Path(scratch)
        harness = folder / "time.c"
        harness.write_text(_HARNESS.format(name=source.stem))
        target = folder / "timed.so"
        options = ("-D_POSIX_C_SOURCE=199309L", f"-I{source.parent.resolve()}", "-shared", "-fPIC")
        compiled([harness, source], target, *FAST, *options, cc=cc)
        run: Any = ctypes.CDLL(str(target)).time_decisions
    count = min(len(observed), 256)
    inputs = (structs.given * count)()
    for struct, seen in zip(inputs, observed, strict=False):
        for field in structs.fields[0]:
            values = np.ascontiguousarray(seen[field.name], field.dtype).ravel()
            np.frombuffer(getattr(struct, field.name), field.dtype)[:] = values
    once = (ctypes.c_double * 1)()
    run(inputs, count, 1, 64, once)
    each = max(once[0] / 64, 1e-3)

    def measure(size: int, rounds: int) -> Timing:
        decisions = max(size, int(_ROUND_S * 1e6 / each) // size * size)
        times = (ctypes.c_double * (rounds + 1))()
        run(inputs, count, rounds + 1, decisions, times)
        return _timing(np.array(times[1:]) / decisions * size)

    return measure


def object_size(source: Path, *options: str, prefix: str = "", cc: str = "gcc") -> dict[str, int]:
    """Returns the output of `size` for a policy's object file, optimised for size.

    Args:
        source: Its .c file.
        options: Further options, such as `CORTEX_M4`.
        prefix: Prefix of the tools' names, such as "arm-none-eabi-".
        cc: The compiler's name behind it.

    Returns:
        Bytes: "flash" (code and constants) and "static_ram".

    Raises:
        ExportError: The tools are missing, or refuse it.
    """
    missing = [t for t in (prefix + cc, prefix + "size") if shutil.which(t) is None]
    if missing:
        raise ExportError(f"{' and '.join(missing)} not found; install binutils and the compiler.")
    with tempfile.TemporaryDirectory(prefix="prunefront-") as scratch:
        target = Path(scratch) / "policy.o"
        compiled([source], target, "-Os", "-c", *options, cc=prefix + cc)
        done = subprocess.run(
            [prefix + "size", str(target)], capture_output=True, text=True, check=True
        )
    text, data, bss = (int(word) for word in done.stdout.splitlines()[1].split()[:3])
    return {"flash": text + data, "static_ram": data + bss}


def ram_of(program: Program, numbers: Numbers, stack: int) -> dict[str, int]:
    """Bytes of RAM that a decision in C takes: values on the stack, and the three structs."""
    structs = structs_of(program, numbers)
    sizes = [ctypes.sizeof(s) for s in (structs.given, structs.state, structs.out)]
    return {
        "stack": stack,
        "input": sizes[0],
        "state": sizes[1] if program.carried else 0,
        "output": sizes[2],
    }
