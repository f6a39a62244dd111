"""Sentences that page, Markdown and terminal share: the report in one line, what a recipe check is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from search.front.format import number, percent, share, signed, span
from search.front.results import Results
from search.front.rivals import named_rival
from search.report.exported import picked_against_dense
from search.report.goal_text import goal_sentence
from search.report.health import weak_dense

RECIPE_CHECK = (
    "“This checkpoint” is the policy on disk. “This recipe” is all that its lineage trained with, "
    "replayed from its birth on seeds that the search never used: the interquartile mean over "
    "seeds, with a 95 % interval that resamples whole trainings; with few of them it is too narrow "
    "rather than too wide. Both are evaluated on the same fresh episodes."
)

RIVALS = (
    "“Against the front” is the baseline's return minus that of the smallest front point that is no "
    "smaller, with a 95 % interval of the difference by seed. Sizes are non-zero weights; of a tree the "
    "thresholds and what its leaves hold, in the bytes that its arrays take."
)


def verdict(results: Results) -> str:
    """The report in one line: the goal, where there is one; the cheapest that keep 99 % and 95 %."""
    told = _verdict(results)
    return f"From an incomplete archive: {told}" if results.losses else told


def _verdict(results: Results) -> str:
    front = results.confirmed
    if not results.has_front:
        return "No front yet: no policy was re-evaluated on fresh seeds."
    if not len(front.table):
        return _of_empty(results)
    told = [
        goal_sentence(results),
        _rival_of_goal(results),
        _of_front(results),
        _plain_rival(results),
        weak_dense(results),
        picked_against_dense(results),
    ]
    return " ".join(part for part in told if part)


def _of_empty(results: Results) -> str:
    played = {e.snapshot_id for e in results.evaluations} - results.baseline_records.keys()
    if played and not len(results.confirmed.candidates):
        return "No re-evaluated policy returned a number in all of its selection episodes."
    return "No policy of this search is better than random and constant action."


def _of_front(results: Results) -> str:
    front = results.confirmed
    if front.scale.note:
        sparsest, count = front.table.iloc[-1], len(front.table)
        points = "1 point" if count == 1 else f"{count} points"
        sparse = percent(sparsest["sparsity"])
        return f"The front has {points}, up to {sparse} sparsity; {front.scale.note}."
    rows = {
        name: front.table.loc[front.table[f"keeps_{name}"].astype(bool)].head(1)
        for name in ("95", "99")
    }
    if not len(rows["95"]):
        return _of_none(front.table.sort_values("retained").iloc[-1])
    if results.pick == "knee":
        return _of_knee(front.table.loc[front.table["knee"].astype(bool)].iloc[0])
    cheapest = rows["95"].iloc[0]
    if len(rows["99"]) and rows["99"].iloc[0]["snapshot_id"] == cheapest["snapshot_id"]:
        return _pick("95 % and 99 %", 0.99, cheapest)
    if len(rows["99"]):
        denser = _pick("99 %", 0.99, rows["99"].iloc[0], short=True)
        return f"{_pick('95 %', 0.95, cheapest)} {denser}"
    none = "None keeps 99 %."
    if front.table["retained"].max() >= 0.99:
        none = "None was chosen for 99 %."
    return f"{_pick('95 %', 0.95, cheapest)} {none}"


def _of_none(best: pd.Series[Any]) -> str:
    """Says that nothing keeps 95 %, and how much is kept; selection episodes decide."""
    least, at = 0.95, f"at {percent(best['sparsity'])} sparsity."
    if best["retained"] < least:
        kept = _kept(best["retained"], least)
        return f"No policy on the front keeps 95 % of the dense one; the best keeps {kept} {at}"
    return (
        "No policy on the front keeps 95 % of the dense one in the episodes that decide; in the "
        f"report's the best keeps {share(best['retained'])} {at}"
    )


def _of_knee(row: pd.Series[Any]) -> str:
    """Describes the pick if the dense baseline is too weak a reference."""
    return (
        f"The front's knee is at {int(row['nonzero_params']):,} of {int(row['total_params']):,} weights "
        f"({percent(row['sparsity'])} sparsity): {_returned(row)}."
    )


def _returned(row: pd.Series[Any]) -> str:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    kept = f" ({interval})" if interval else f" ({row['return_note'].split(':')[0]})"
    return f"return {number(row['return_mean'])}{kept}"


def _pick(level: str, least: float, row: pd.Series[Any], *, short: bool = False) -> str:
    """Describes a pick and its return; selection episodes chose it, report episodes may show less."""
    weights, sparse = f"{int(row['nonzero_params']):,}", percent(row["sparsity"])
    kept = f"retained {_kept(row['retained'], least)}."
    fewer = row["retained"] < least
    if short and fewer:
        return f"{weights} ({sparse}) were chosen for {level}; fresh episodes give less: {kept}"
    if short:
        return f"{level} takes {weights} ({sparse}), {kept}"
    what = f"{weights} of {int(row['total_params']):,} weights ({sparse} sparsity)"
    told = f"{_returned(row)}, {kept}"
    if fewer:
        return (
            f"{what} were chosen for {level} of the dense policy; fresh episodes give less: {told}"
        )
    return f"{what} keep {level} of the dense policy: {told}"


def _kept(retained: float, least: float) -> str:
    """Formats what is retained, with enough digits to show on which side of a limit it is."""
    if retained >= least or round(retained, 2) < least:
        return share(retained)
    return f"{math.floor(1000 * retained) / 1000:.3f}"


# What a baseline is called by its kind, as the subject of a sentence.
_CALLED = {
    "random_masks": "A network with random masks",
    "small_dense": "A plain dense network",
    "train_then_prune": "A network that was trained once and then pruned",
    "linear": "A linear policy",
    "tree": "A decision tree",
}


def _rival_of_goal(results: Results) -> str:
    """The plain policy that is as good as what meets the goal, or better; "" where none is.

    Where what meets the goal is praised for what it keeps too, that is said there.
    """
    front = results.confirmed
    met = front.pick("goal")
    if not met or met == _praised(results)[0]:
        return ""
    found = named_rival(front.rivals, met)
    return "" if found is None else _beside(results, found)


def _praised(results: Results) -> tuple[str, str]:
    """The point that the verdict praises, and for what: "keeps_95", or "" for nothing that it keeps."""
    front = results.confirmed
    pick = front.pick("keeps_95")
    return (front.pick("knee"), "") if pick and results.pick == "knee" else (pick, "keeps_95")


def _plain_rival(results: Results) -> str:
    """The plain policy that is as good as what the verdict praises, or better; "" where none is."""
    front = results.confirmed
    if front.scale.note:
        return ""
    pick, level = _praised(results)
    if pick:
        found = named_rival(front.rivals, pick, level)
        return "" if found is None else _beside(results, found)
    keeping = front.rivals[front.rivals["keeps_95"].astype(bool)]
    found = named_rival(keeping, str(front.table["snapshot_id"].iloc[0]), level)
    if found is None:
        return ""
    row = _row_of(results, found)
    does = "does" if row["retained"] >= 0.95 else "does in the episodes that decide"
    return (
        f"{_called(found)} {does}: return {number(row['return_mean'])}, "
        f"retained {_kept(row['retained'], 0.95)}."
    )


def _beside(results: Results, found: Mapping[str, Any]) -> str:
    """A plain policy beside the point of the front that it is held against."""
    row = _row_of(results, found)
    verb = {"better": "is better", "even": "can't be told from it"}
    does = verb.get(found["how"]) or _keeps_too(results, found, row["retained"])
    return f"{_called(found)} {does}: return {number(row['return_mean'])}, {_apart(found)}."


def _keeps_too(results: Results, found: Mapping[str, Any], retained: float) -> str:
    """Says that a plain policy keeps what the point was chosen for; report episodes may show less."""
    front = results.confirmed
    both = found["keeps_99"] and found["snapshot_id"] == front.pick("keeps_99")
    level, least = ("95 % and 99 %", 0.99) if both else ("95 %", 0.95)
    if retained < least:
        return f"keeps {level} too in the episodes that decide"
    kept = dict(zip(front.table["snapshot_id"], front.table["retained"], strict=True))
    if kept[found["snapshot_id"]] < least:
        return f"keeps {level}"
    return "does too" if both else "keeps 95 % too"


def _called(found: Mapping[str, Any]) -> str:
    return f"{_CALLED[found['kind']]} of {found['weights']:,} {found['unit']}"


def _row_of(results: Results, found: Mapping[str, Any]) -> dict[Any, Any]:
    rows = {str(row["name"]): row for row in results.confirmed.baselines.to_dict("records")}
    return rows[str(found["baseline"])]


def _apart(found: Mapping[str, Any]) -> str:
    """The difference to the pick, and how sure it is."""
    low, high = found["difference_low"], found["difference_high"]
    if low == high:
        return "the same on every seed" if not low else f"{signed(low)} against it on every seed"
    how = "paired by seed" if found["paired"] else "two samples"
    return f"{signed(found['difference'])} against it ({span(low, high, signed)}, 95 %, {how})"
