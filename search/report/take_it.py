"""How a front point gets out of Ray: what to type, and what its exports weigh, if there are some."""

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
    """What to type to get a point out of Ray, in the form that it was measured in.

    Args:
        results: The search.
        row: The point's, of the front.
        folder: The results folder as it is reached from where one types; "": from beside it.
    """
    folder = folder or results.folder.resolve().name
    form = measured_form(row) or "c"
    return f"prunefront export {shlex.quote(folder)} --point {row['snapshot_id']} --format {form}"


def take_the_pick(results: Results, folder: str = "") -> str:
    """What to type for the point that the verdict names; "" where none is, or its policy is gone.

    Args:
        results: The search.
        folder: As for `command`.
    """
    pick = results.pick
    rows = results.confirmed.table.to_dict("records")
    row = next((row for row in rows if pick and row[pick] and row["policy"]), None)
    return "" if row is None else command(results, row, folder)


def exports(folder: Path) -> list[dict[str, str]]:
    """What a point's exports weigh, a row a form.

    Args:
        folder: Where a folder for each form lies; none where nothing was exported.
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
