"""Texts about a search's course, shared by the page and the Markdown report."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from search.front.format import duration, number
from search.front.results import Results

# What the dense baseline is called among those that failed.
DENSE = "dense"


def failures(results: Results) -> list[dict[str, str]]:
    """Returns what went wrong: failures, retries, the manifest's list, snapshots without a number."""
    told = [e for e in results.events if e.get("event") == "failure"]
    for item in _listed(results.manifest.get("failures")):
        told.append(item if isinstance(item, dict) else {"error": item})
    rows: list[dict[str, str]] = []
    for item in told:
        row = {
            "member": _member(item.get("member")),
            "segment": str(item.get("segment", "–")),
            "what": str(item.get("error") or item.get("message") or "not recorded"),
        }
        if row not in rows:
            rows.append(row)
    rows += [
        {
            "member": _member(event.get("member")),
            "segment": str(event.get("segment", "–")),
            "what": f"trained again from its start: {event.get('error') or 'not recorded'}",
        }
        for event in results.events
        if event.get("event") == "retry"
    ]
    for s in results.records:
        if not s.usable:
            why = "failed" if s.status == "failed" else "its return is not a number"
            rows.append(
                {
                    "member": _member(s.member),
                    "segment": str(s.segment),
                    "what": f"snapshot {s.snapshot_id}: {why}",
                }
            )
    return rows


def _member(index: Any) -> str:
    if index is None:
        return "–"
    # The dense baseline trains as a member of its own, below 0.
    return DENSE if isinstance(index, int) and index < 0 else str(index)


def provenance(results: Results) -> list[tuple[str, str]]:
    """Budget, hardware and versions; "not recorded" where the manifest doesn't say."""
    manifest = results.manifest
    steps, budget = _mapping(manifest, "env_steps"), _mapping(manifest, "budget")
    hardware, versions = _mapping(manifest, "hardware"), _mapping(manifest, "versions")
    kinds = Counter(str(e.get("event")) for e in results.events)
    fields: dict[str, Any] = {
        "status": manifest.get("status"),
        "environment": manifest.get("env"),
        "strategy": manifest.get("strategy"),
        "training env steps": _of(steps.get("training"), budget.get("env_steps")),
        "env steps of baselines": _count(steps.get("baselines")),
        "env steps of evaluation": _count(steps.get("evaluation")),
        "env steps of the recipe check": _count(_retrained(manifest)),
        "horizon of a member": _count(budget.get("horizon")),
        "members": _of(manifest.get("members"), None, "at once", manifest.get("slots")),
        "snapshots": f"{len(results.records):,}",
        "events": ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items())),
        "wall-clock": duration(manifest.get("wall_time")) if manifest.get("wall_time") else None,
        "started": manifest.get("started"),
        "seed": manifest.get("seed"),
        "hardware": ", ".join(f"{key} {value}" for key, value in hardware.items()),
        "versions": ", ".join(f"{key} {value}" for key, value in versions.items()),
        "git revision": manifest.get("git_revision"),
    }
    return [
        (name, "not recorded" if value in (None, "", "–") else str(value))
        for name, value in fields.items()
    ]


def command(results: Results) -> str:
    """The exact command, quoted for a shell; "" where it isn't recorded."""
    words = results.manifest.get("command")
    if isinstance(words, str):
        return words
    return shlex.join(str(word) for word in _listed(words))


def _retrained(manifest: dict[str, Any]) -> int | None:
    runs = [run for run in _listed(manifest.get("retrain")) if isinstance(run, dict)]
    return sum(int(run.get("env_steps", 0)) for run in runs) if runs else None


def _mapping(manifest: dict[str, Any], key: str) -> dict[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> str | None:
    return None if value is None else number(value)


def _of(value: Any, total: Any, joint: str = "", other: Any = None) -> str | None:
    if value is None:
        return None
    text = number(value)
    if total is not None:
        text += f" of {number(total)}"
    return f"{text}, {number(other)} {joint}" if other is not None else text
