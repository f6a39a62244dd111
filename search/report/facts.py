"""The report's tables as text, shared by the page and the Markdown."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from typing import Any

from search.recipes import RECIPE
from search.report.words import (
    duration,
    marks,
    number,
    percent,
    recipe,
    share,
    size,
    span,
)
from search.results import Results

# What only the shrunk policy's own measurement gives; a column appears once one is measured.
MEASURED = {
    "shrunk_params": "weights, shrunk",
    "macs": "multiply-accumulates",
    "latency_us": "latency, µs",
}
# Columns that a table sets flush right.
NUMBERS = frozenset(
    {
        "return",
        "retained",
        "non-zero weights",
        "sparsity",
        "P(non-dominated)",
        "search score",
        "optimism",
        "env steps",
        "segments",
        "seed",
        "points",
        "searches",
        "weights at 95 %",
        "weights at 99 %",
        "hypervolume, decades",
        "hypervolume, sparsity",
        "wall-clock",
        "recipe retained",
        "recipe sparsity",
        *MEASURED.values(),
    }
)
Row = dict[str, str]


def before_after(results: Results) -> list[Row]:
    """The dense policy against each front point: what pruning cost and what it saved."""
    dense = results.baselines[results.baselines["name"] == "dense"].to_dict("records")
    front = results.confirmed.table
    measured = [name for name in MEASURED if front[name].notna().any()]
    before = dense[0]["policy_bytes"] if dense else None
    rows = [_row(row, "dense (before)", "baseline", before, measured) for row in dense]
    return rows + [
        _row(row, str(row["snapshot_id"]), marks(row), before, measured)
        for row in front.to_dict("records")
    ]


def _row(row: dict[Any, Any], policy: str, picked: str, before: Any, measured: list[str]) -> Row:
    text = size(row["policy_bytes"])
    if before and row["policy_bytes"] and row["policy_bytes"] < before:
        text += f" ({before / row['policy_bytes']:.1f}× smaller)"
    return {
        "policy": policy,
        "picked as": picked,
        "return": number(row["return_mean"]),
        "95 % interval": span(row["return_ci_low"], row["return_ci_high"])
        or _brief(row["return_note"]),
        "retained": share(row["retained"]),
        "non-zero weights": f"{int(row['nonzero_params']):,}",
        "sparsity": percent(row["sparsity"]),
        "size, compressed": text,
        **{MEASURED[name]: number(row.get(name)) for name in measured},
        "P(non-dominated)": share(row.get("p_nondominated")),
        "search score": number(row["search_return"]),
        "optimism": number(row["search_return"] - row["return_mean"]),
    }


def _brief(note: Any) -> str:
    return str(note or "–").split(";")[0]


def tiles(results: Results) -> list[Row]:
    """The picks at a glance, each once."""
    found = []
    for row in results.confirmed.table.to_dict("records"):
        if picked := marks(row):
            kept = f"return {number(row['return_mean'])}, retained {share(row['retained'])}"
            found.append(
                {
                    "title": picked[0].upper() + picked[1:],
                    "big": f"{int(row['nonzero_params']):,}",
                    "unit": f"weights, {percent(row['sparsity'])} sparse",
                    "text": f"{kept} · {row['snapshot_id']}",
                }
            )
    for row in results.baselines.to_dict("records"):
        if row["name"] == "dense":
            found.append(
                {
                    "title": "Dense baseline",
                    "big": f"{int(row['nonzero_params']):,}",
                    "unit": "weights",
                    "text": f"return {number(_best_known(row))}, {row['description']}",
                }
            )
    return found


def _best_known(row: dict[Any, Any]) -> Any:
    """The return on fresh seeds or, before there is one, the search score."""
    return row["return_mean"] if math.isfinite(row["return_mean"]) else row["search_return"]


def baselines(results: Results) -> list[Row]:
    """Every baseline with its return."""
    return [
        {
            "baseline": str(row["name"]),
            "what it is": str(row["description"]),
            "return": number(row["return_mean"]),
            "95 % interval": span(row["return_ci_low"], row["return_ci_high"])
            or _brief(row["return_note"]),
            "retained": share(row["retained"]),
            "non-zero weights": number(row["nonzero_params"]) if row["nonzero_params"] else "–",
            "env steps": number(row["env_steps"]),
        }
        for row in results.baselines.to_dict("records")
    ]


def recipes(results: Results) -> list[Row]:
    """Hyperparameters of each front point's last segment."""
    by_id = {s.snapshot_id: s for s in results.records}
    return [
        {
            "policy": str(row["snapshot_id"]),
            "picked as": marks(row),
            "started from": by_id[row["snapshot_id"]].parent or "its own birth",
            "hyperparameters": recipe(by_id[row["snapshot_id"]].hyperparameters, ", "),
        }
        for row in results.confirmed.table.to_dict("records")
    ]


def recipe_checks(results: Results) -> list[Row]:
    """This checkpoint against this recipe: a row a point whose recipe was replayed."""
    picked = {str(row["snapshot_id"]): marks(row) for row in _front_rows(results)}
    table = results.recipe_check
    return [
        {
            "policy": str(row["snapshot_id"]),
            "picked as": picked.get(str(row["snapshot_id"]), "no longer on the front"),
            "this checkpoint": _with_interval(row, "checkpoint_return", "checkpoint"),
            "retained": share(row["checkpoint_retained"]),
            "this recipe": _with_interval(row, "return_mean", "return"),
            "recipe retained": share(row["retained"]),
            "worst to best seed": span(row["return_worst"], row["return_best"]) or "–",
            "seeds": f"{row['seeds']:,}" + (f", {row['failed']} failed" if row["failed"] else ""),
            "sparsity": percent(row["checkpoint_sparsity"]),
            "recipe sparsity": percent(row["sparsity"]),
        }
        for row in table[table["row"] == RECIPE].to_dict("records")
    ]


def _front_rows(results: Results) -> list[dict[Any, Any]]:
    return results.confirmed.table.to_dict("records")


def _with_interval(row: dict[Any, Any], value: str, prefix: str) -> str:
    found = span(row[f"{prefix}_ci_low"], row[f"{prefix}_ci_high"])
    return f"{number(row[value])} ({found or 'no interval'})"


def importances(results: Results) -> list[Row]:
    """Exploratory importance of each hyperparameter for both gains, the greatest first."""
    table = results.importance.table
    return [
        {
            "hyperparameter": str(row["hyperparameter"]),
            "acts": str(row["group"]),
            "gain in": str(row["gain"]),
            "importance": share(row["importance"]),
            "95 % interval": span(row["low"], row["high"], share) or "–",
            "who gained more, all else equal": str(row["effect"]),
            "segments": f"{row['segments']:,}",
        }
        for row in table.sort_values("importance", ascending=False, kind="stable").to_dict(
            "records"
        )
    ]


def explained(results: Results) -> str:
    """How far the model behind the importance can be trusted."""
    found = results.importance
    parts = []
    for gain, (alone, together) in found.explained.items():
        known = f"start and progress explain {share(alone)} of the variance of the gain in {gain}"
        if together > alone:
            parts.append(f"{known}, with the hyperparameters {share(together)}")
        else:
            parts.append(
                f"{known}, and the hyperparameters add nothing: read nothing into its bars"
            )
    if found.used < found.segments:
        parts.append(f"{found.used:,} of {found.segments:,} segments were used, evenly spread")
    parts += [f"left out: {note}" for note in found.notes]
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "." if parts else ""


def failures(results: Results) -> list[Row]:
    """What went wrong: failures and retries, the manifest's list, snapshots that gave no number."""
    told = [e for e in results.events if e.get("event") == "failure"]
    for item in _listed(results.manifest.get("failures")):
        told.append(item if isinstance(item, dict) else {"error": item})
    rows: list[Row] = []
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
    return "dense" if isinstance(index, int) and index < 0 else str(index)


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


def reference(results: Results) -> str:
    """What the hypervolume is measured from, and its two values."""
    front = results.confirmed
    if not len(front.table):
        return ""
    over_sparsity, over_decades = front.hypervolumes
    if math.isnan(over_sparsity):
        return "The hypervolume is not defined here, because retained is not."
    return (
        f"Hypervolume of the front: {over_sparsity:.4f} over (retained, sparsity) and "
        f"{over_decades:.4f} over (retained, decades of density = −log10 of the density, at least one "
        f"weight). Reference point: sparsity 0 and retained {front.scale.retained_floor:.4f}, the "
        "better of random policy and constant action."
    )


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
