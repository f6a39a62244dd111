"""Sentences about the size and speed of exported policies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from search.front.format import MARKS, number
from search.front.membership import KEEPS
from search.front.results import Results

# By the form: what it is called, of what it takes bytes, and the columns of its size and its latency.
_FORMS = {
    "c": ("in C", "bytes of flash", "c_flash_bytes", "c_latency_us"),
    "onnx": ("in ONNX", "bytes of file", "onnx_file_bytes", "onnx_latency_us"),
}


def measured_form(row: Mapping[Any, Any]) -> str:
    """The form that a policy was measured in: "c" or "onnx"; "" for none."""
    return next((form for form, (_, _, _, time) in _FORMS.items() if _known(row.get(time))), "")


def as_exported(row: Mapping[Any, Any]) -> str:
    """Returns, say, "in C 453 bytes of flash and 0.017 µs a decision"; empty if not measured.

    Args:
        row: Row of the front's or the baselines' table.
    """
    form = measured_form(row)
    return f"{_FORMS[form][0]} {_taken(row, form)}" if form else ""


def picked_against_dense(results: Results) -> str:
    """Returns size and speed of the exported pick and dense policy; empty if not measured."""
    pick = results.pick
    rows = results.confirmed.table.to_dict("records")
    row = next((row for row in rows if pick and row[pick]), {})
    form = measured_form(row)
    if not form:
        return ""
    who = "the knee" if pick == "knee" else f"what {MARKS[pick]}"
    # Selection episodes chose it, and its own may say less.
    if row["retained"] < KEEPS.get(pick, -math.inf):
        who = f"what was chosen for {100 * KEEPS[pick]:.0f} %"
    told = f"As exported, {who} takes {as_exported(row)}"
    dense = results.baselines.loc[results.baselines["name"] == "dense"].to_dict("records")
    same = [row for row in dense if measured_form(row) == form]
    return told + (f", the dense policy {_taken(same[0], form)}." if same else ".")


def _taken(row: Mapping[Any, Any], form: str) -> str:
    _, bytes_of, size, time = _FORMS[form]
    weighs = f"{int(row[size]):,} {bytes_of} and " if _known(row.get(size)) else ""
    short = float(row[time]) < 10.0
    return f"{weighs}{f'{row[time]:.2g}' if short else number(row[time])} µs a decision"


def export_notes(results: Results) -> list[str]:
    """Why points of the front were not measured as exported, or not in C: a clause a reason."""
    table = results.confirmed.table
    found: dict[str, int] = {}
    for note in table["export_note"].dropna():
        found[str(note)] = found.get(str(note), 0) + 1
    return [
        f"as exported: {note} ({count} of {len(table)} points)" for note, count in found.items()
    ]


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
