"""Times a policy as it would be exported: in C if there is a compiler, else in ONNX."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rllib_ext.base.extras import install
from rllib_ext.export.c_run import compiler
from rllib_ext.export.c_text import FLOAT
from rllib_ext.export.errors import ExportError
from rllib_ext.export.forms import Choice, write_form
from rllib_ext.export.measure import ROUNDS, Timing, batch_feeds, c_timer, timed
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program

# Forms in which a policy can be timed, the first that can be run here counts.
TIMED_FORMS = ("c", "onnx")
NAMES = {"c": "C", "onnx": "ONNX"}
# Different observations that a timed policy decides on, in turns.
_OBSERVATIONS = 64


def timed_form() -> str:
    """The form that policies can be timed in on this machine; "" for none."""
    return next((form for form in TIMED_FORMS if can_time(form)), "")


def can_time(form: str) -> bool:
    """Whether policies can be timed in a form on this machine."""
    if form == "c":
        return compiler() is not None
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def refuse_untimed(form: str) -> None:
    """Checks whether this machine can time what another one decided to.

    Args:
        form: One of `TIMED_FORMS`; "" where nothing is to be timed.

    Raises:
        ExportError: It can't; says what is missing.
    """
    if form and not can_time(form):
        lacking = "C compiler (looked for $CC, cc, gcc and clang)"
        raise ExportError(
            f"this search compares latencies of policies in {NAMES[form]}, and this machine has no "
            f"{lacking if form == 'c' else 'onnxruntime'}. Install "
            f"{'one, such as with `apt install gcc`' if form == 'c' else install('onnx')}: times of "
            "different forms can't be compared."
        )


def timer(program: Program, form: str) -> Callable[[], Timing]:
    """Prepares a policy for timing in one form, one decision at a time, with one thread.

    Args:
        program: Program of the policy.
        form: One of `TIMED_FORMS`.

    Returns:
        Times it: in C called from C, in ONNX as onnxruntime is called from Python.

    Raises:
        ExportError: The form can't be written, or can't run here.
    """
    observed = drawn_inputs(program, _OBSERVATIONS)
    with tempfile.TemporaryDirectory(prefix="prunefront-") as scratch:
        folder = Path(scratch)
        written = write_form(folder, program, Choice(format=form))
        if form == "c":
            measure = c_timer(program, FLOAT, folder / written.main, observed)
            return lambda: measure(1, ROUNDS)
        from rllib_ext.export.onnx_run import onnx_run

        run = onnx_run(folder / written.main, program)
    feeds = batch_feeds(program, observed, 1)
    return lambda: timed(lambda: run(feeds))


def drawn_inputs(program: Program, count: int) -> list[dict[str, Array]]:
    """Returns random inputs of a program, for timings that don't depend on the inputs.

    Args:
        program: Program of the policy.
        count: Number of inputs.

    Returns:
        By name, without a batch: real numbers of a standard normal distribution, noise uniform, bytes
        from 0 to 255, and other whole numbers 0, which every space of theirs holds or comes near.
    """
    rng = np.random.default_rng(0)
    places, found = program.numbers, []
    for _ in range(count):
        values: dict[str, Array] = {}
        for given in program.given:
            node = program.nodes[places[given.name]]
            if given.noise == "uniform":
                value: Array = rng.random(node.shape)
            elif node.dtype == "float32":
                value = rng.standard_normal(node.shape)
            elif node.dtype == "uint8":
                value = rng.integers(0, 256, node.shape)
            else:
                value = np.zeros(node.shape)
            values[given.name] = np.asarray(value, node.dtype)
        found.append(values)
    return found
