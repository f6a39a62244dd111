"""How each front point gets out of Ray: what to type, and what its exports weigh, if there are some."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from search.front.format import marks, number
from search.front.results import EXPORT, FORMS, Results


@dataclasses.dataclass(frozen=True)
class Taken:
    """A front point and its exports.

    Attributes:
        policy: The snapshot's id.
        picked: What it is picked as; "" for none.
        weights: The point's non-zero weights, in words.
        command: What to type.
        exports: A row for each form that was exported.
    """

    policy: str
    picked: str
    weights: str
    command: str
    exports: list[dict[str, str]]


def take_it(results: Results) -> list[Taken]:
    """One for each front point whose policy is on disk, the picks first."""
    found = [
        Taken(
            policy=str(row["snapshot_id"]),
            picked=marks(row),
            weights=f"{int(row['nonzero_params']):,}",
            command=command(results, str(row["snapshot_id"])),
            exports=_exports(results.folder / EXPORT / str(row["snapshot_id"])),
        )
        for row in results.confirmed.table.to_dict("records")
        if row["policy"]
    ]
    return sorted(found, key=lambda taken: not taken.picked)


def command(results: Results, point: str) -> str:
    """What to type to get a point out of Ray."""
    return f"prunefront export {results.folder.resolve().name} --point {point} --format c"


def _exports(folder: Path) -> list[dict[str, str]]:
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
