"""Measures the size and speed of saved policies as exported, for a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ext.export.errors import ExportError
from rllib_ext.export.forms import Choice, write_form
from rllib_ext.export.measure import Timing, object_size
from rllib_ext.export.opened import open_saved
from rllib_ext.export.program import Program
from rllib_ext.export.source import program_of, refuse_diverged
from rllib_ext.export.timing import TIMED_FORMS, timed_form, timer
from rllib_ext.export.wiring import wiring_of

# How often each policy has its turn: whatever else runs on the machine then meets all alike.
TURNS = 5
# A compiler takes seconds for what has more weights.
LARGEST = 300_000
NOTE = "export_note"
FIGURES = ("c_flash_bytes", "c_latency_us", "onnx_file_bytes", "onnx_latency_us", NOTE)
# Beside the figures: the policy's connections.
WIRING = "wiring"
_NO_FORM = (
    "not measured as exported: there is neither a C compiler (looked for $CC, cc, gcc and clang) nor "
    "onnxruntime on this machine"
)


def exported_figures(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Writes policies as `prunefront export` would, and measures what was written; nothing is verified.

    Nothing else should run beside it. Runs code from the policies.

    Args:
        folders: Saved policies by name.

    Returns:
        `FIGURES` and `WIRING` by name, None where not measured: "c_flash_bytes": `size` of the object
        file for this machine, as "size" in `policy.json` has it; "c_latency_us": microseconds of a
        decision, called from C; or, where there is no C compiler, "onnx_file_bytes" and
        "onnx_latency_us" with onnxruntime, called from Python; "export_note": why something was not
        measured, as a clause;
        "wiring": its connections, as `Wiring.as_json`, where it is small enough to be drawn.
    """
    form = timed_form()
    found: dict[str, dict[str, Any]] = {name: dict.fromkeys((*FIGURES, WIRING)) for name in folders}
    timers: dict[str, Callable[[], Timing]] = {}
    for name, folder in folders.items():
        figures = found[name]
        try:
            program = _program(folder)
            if (wiring := wiring_of(program)) is not None:
                figures[WIRING] = wiring.as_json()
            if not form:
                raise ExportError(_NO_FORM)
            figures |= _sizes(program, form)
            timers[name] = timer(program, form)
        except ExportError as error:
            figures[NOTE] = str(error).rstrip(".")
            continue
        if form != TIMED_FORMS[0]:
            figures[NOTE] = "measured in ONNX: there is no C compiler on this machine"
    turns: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(TURNS):
        for name, measure in timers.items():
            turns[name].append(measure().median)
    for name, medians in turns.items():
        found[name][f"{form}_latency_us"] = float(f"{np.median(medians):.4g}")
    return found


def _program(folder: Path) -> Program:
    parts, masks, _ = open_saved(folder)
    program = program_of(parts, masks)
    refuse_diverged(program)
    if program.weights > LARGEST:
        raise ExportError(
            f"not measured in passing: {program.weights:,} weights; `prunefront export` measures it"
        )
    return program


def _sizes(program: Program, form: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="prunefront-") as scratch:
        folder = Path(scratch)
        main = folder / write_form(folder, program, Choice(format=form)).main
        if form != "c":
            return {"onnx_file_bytes": main.stat().st_size}
        try:
            return {"c_flash_bytes": object_size(main)["flash"]}
        except ExportError:
            # Another compiler than gcc, or no binutils.
            return {}
