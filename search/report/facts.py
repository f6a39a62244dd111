"""The report's tables as text, shared by the page and the Markdown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from search.front.format import marks, number, percent, recipe, share, signed, size, span
from search.front.recipe_check import RECIPE
from search.front.results import Results
from search.front.rivals import nearest_points
from search.store.archive import LEFT_OUT

# What only the shrunk policy's own measurement gives; a column appears once one is measured.
MEASURED = {
    "shrunk_params": "weights, shrunk",
    "macs": "multiply-accumulates",
    "latency_us": "latency in RLlib, µs",
    "c_flash_bytes": "flash in C, bytes",
    "c_latency_us": "latency in C, µs",
    "onnx_file_bytes": "ONNX file, bytes",
    "onnx_latency_us": "latency in ONNX, µs",
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
# Of the page's main table: what a narrow screen shows too, and what stands below what.
_ALWAYS = ("policy", "return", "retained", "non-zero weights")
_BELOW = {"return": "95 % interval", "non-zero weights": "sparsity"}
_SIZES = ("c_flash_bytes", "onnx_file_bytes")
_TIMES = ("c_latency_us", "onnx_latency_us")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of `before_after` on the page: seven shown, the others on demand.

    Attributes:
        first: The seven at most that are always there on a wide screen.
        others: The rest, but for what stands in another's cell.
    """

    first: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """All columns from left to right."""
        return self.first + self.others

    @property
    def below(self) -> dict[str, str]:
        """By column, which one stands below its figure."""
        return _BELOW

    def kind(self, name: str) -> str:
        """When a column is shown: "" always, "wide" where there is room, "more" on demand."""
        return "more" if name in self.others else "" if name in _ALWAYS else "wide"


def columns_of(rows: Sequence[Row]) -> Columns:
    """Chooses the columns of `before_after` that come first.

    Args:
        rows: At least one.
    """
    exported = [next((MEASURED[key] for key in keys if MEASURED[key] in rows[0]), "")
                for keys in (_SIZES, _TIMES)]  # fmt: skip
    first = (*_ALWAYS, *(name for name in exported if name), "P(non-dominated)")
    hidden = {*first, "picked as", *_BELOW.values()}
    return Columns(first, tuple(name for name in rows[0] if name not in hidden))


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


def baselines(results: Results) -> list[Row]:
    """Every baseline with its return, and how it stands to the smallest point that is no smaller."""
    front = results.confirmed
    against = nearest_points(front.rivals, front.table)
    return [
        {
            "baseline": str(row["name"]),
            "what it is": str(row["description"]),
            "return": number(row["return_mean"]),
            "95 % interval": span(row["return_ci_low"], row["return_ci_high"])
            or _brief(row["return_note"]),
            "retained": share(row["retained"]),
            "size": _size(row),
            "against the front": _against(against.get(str(row["name"]))),
            "env steps": number(row["env_steps"]),
        }
        for row in front.baselines.to_dict("records")
    ]


def _size(row: dict[Any, Any]) -> str:
    if not row["nonzero_params"]:
        return "–"
    takes = f", {int(row['flash_bytes']):,} bytes" if row["flash_bytes"] else ""
    return f"{number(row['nonzero_params'])} {row['unit']}{takes}"


def _against(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    interval = span(row["difference_low"], row["difference_high"], signed)
    return (
        f"{signed(row['difference'])} ({interval}) to {row['snapshot_id']} of "
        f"{int(row['point_weights']):,}"
    )


def left_out(results: Results) -> list[str]:
    """Why baselines of some kind are missing, a sentence a kind."""
    return [str(event["why"]) for event in results.events if event.get("event") == LEFT_OUT]


def recipes(results: Results) -> list[Row]:
    """Hyperparameters of each front point's last segment."""
    by_id = {s.snapshot_id: s for s in results.records}
    begin = "the checkpoint" if results.pruned else "its own birth"
    return [
        {
            "policy": str(row["snapshot_id"]),
            "picked as": marks(row),
            "started from": by_id[row["snapshot_id"]].parent or begin,
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
    """Returns a sentence on the reliability of the model behind the importance."""
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


def reference(results: Results) -> str:
    """Returns a sentence on the hypervolume's reference point and its two values."""
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
