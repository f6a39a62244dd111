"""How to export a front point: the command, and the sizes of existing exports."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.front.format import number
from search.front.results import FORMS, Results
from search.report.exported import measured_form


def command(results: Results, row: Mapping[Any, Any], folder: str = "") -> str:
    """Returns the command that exports a point, in the form that it was measured in.

    Args:
        results: The search.
        row: The point's, of the front.
        folder: The results folder as it is reached from where one types; "": from beside it.
    """
    folder = folder or results.folder.resolve().name
    form = measured_form(row) or "c"
    return f"prunefront export {shlex.quote(folder)} --point {row['snapshot_id']} --format {form}"


def take_the_pick(results: Results, folder: str = "") -> str:
    """Returns the command for the verdict's point; empty if there is none, or its policy is gone.

    Args:
        results: The search.
        folder: Results folder in the command, as for `command`.
    """
    pick = results.pick
    rows = results.confirmed.table.to_dict("records")
    row = next((row for row in rows if pick and row[pick] and row["policy"]), None)
    return "" if row is None else command(results, row, folder)


def exports(folder: Path) -> list[dict[str, str]]:
    """Returns the sizes of a point's exports, one row per form.

    Args:
        folder: Folder with one subfolder per exported form; may have none.
    """
    rows = []
    for form in FORMS:
        path = folder / form / "policy.json"
        try:
            contract = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
            if contract is not None:
                rows.append(_row(form, contract))
        except (ValueError, KeyError, TypeError, AttributeError):
            rows.append({"form": form, "file": "its policy.json can't be read: export it again"})
    names = {name for row in rows for name in row}
    order = ("form", "file", "flash", "flash, Cortex-M4", "RAM", "µs a decision", "verified")
    return [{name: row.get(name, "–") for name in order if name in names} for row in rows]


def _row(form: str, contract: dict[str, Any]) -> dict[str, str]:
    size, verified = contract["size"], contract["verified"]
    row = {"form": form, "file": _bytes(size.get("file_bytes"))}
    chips = {"flash": "this machine", "flash, Cortex-M4": "Cortex-M4"}
    for name, chip in chips.items():
        if chip in size.get("object", {}):
            row[name] = _bytes(size["object"][chip]["flash"])
    if "ram_bytes" in size:
        row["RAM"] = _bytes(sum(size["ram_bytes"].values()))
    if timing := contract.get("latency", {}).get("batches", {}).get("1"):
        row["µs a decision"] = number(timing["median_us"])
    if not verified:
        return {**row, "verified": "no"}
    loop = verified.get("closed_loop")
    equal = "" if loop is None else ", equal returns" if loop["equal"] else ", other returns"
    return {**row, "verified": f"{verified['observations']:,} observations{equal}"}


def _bytes(count: Any) -> str:
    return f"{int(count):,} B" if isinstance(count, int | float) else "–"
