"""Sentences that page, Markdown and terminal share: the report in one line, what a recipe check is."""

from __future__ import annotations

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
        return "No policy of this search is better than random and constant action."
    told = [
        goal_sentence(results),
        _of_front(results),
        _plain_rival(results),
        weak_dense(results),
        picked_against_dense(results),
    ]
    return " ".join(part for part in told if part)


def _of_front(results: Results) -> str:
    front = results.confirmed
    if front.scale.note:
        sparsest = front.table.iloc[-1]
        return (
            f"The front has {len(front.table)} points, up to {percent(sparsest['sparsity'])} sparsity; "
            f"{front.scale.note}."
        )
    rows = {
        name: front.table.loc[front.table[f"keeps_{name}"].astype(bool)].head(1)
        for name in ("95", "99")
    }
    if not len(rows["95"]):
        best = front.table.sort_values("retained").iloc[-1]
        return (
            "No policy on the front keeps 95 % of the dense one; the best keeps "
            f"{share(best['retained'])} at {percent(best['sparsity'])} sparsity."
        )
    if results.pick == "knee":
        return _of_knee(front.table.loc[front.table["knee"].astype(bool)].iloc[0])
    cheapest = rows["95"].iloc[0]
    if len(rows["99"]) and rows["99"].iloc[0]["snapshot_id"] == cheapest["snapshot_id"]:
        return _pick("95 % and 99 %", 0.99, cheapest)
    if len(rows["99"]):
        denser = _pick("99 %", 0.99, rows["99"].iloc[0], short=True)
        return f"{_pick('95 %', 0.95, cheapest)} {denser}"
    return f"{_pick('95 %', 0.95, cheapest)} None keeps 99 %."


def _of_knee(row: pd.Series[Any]) -> str:
    """What is taken where the dense baseline is no measure."""
    return (
        f"The front's knee is at {int(row['nonzero_params']):,} of {int(row['total_params']):,} weights "
        f"({percent(row['sparsity'])} sparsity): {_returned(row)}."
    )


def _returned(row: pd.Series[Any]) -> str:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    kept = f" ({interval})" if interval else f" ({row['return_note'].split(':')[0]})"
    return f"return {number(row['return_mean'])}{kept}"


def _pick(level: str, least: float, row: pd.Series[Any], *, short: bool = False) -> str:
    """What a pick is and returns; its selection episodes chose it, and its own may say less."""
    weights = f"{int(row['nonzero_params']):,}"
    if short:
        sparse = percent(row["sparsity"])
        return f"{level} takes {weights} ({sparse}), retained {share(row['retained'])}."
    what = (
        f"{weights} of {int(row['total_params']):,} weights ({percent(row['sparsity'])} sparsity)"
    )
    told = f"{_returned(row)}, retained {share(row['retained'])}."
    if row["retained"] < least:
        return (
            f"{what} were chosen for {level} of the dense policy; fresh episodes give less: {told}"
        )
    return f"{what} keep {level} of the dense policy: {told}"


# What a baseline is called by its kind, as the subject of a sentence.
_CALLED = {
    "random_masks": "A network with random masks",
    "small_dense": "A plain dense network",
    "train_then_prune": "A network that was trained once and then pruned",
    "linear": "A linear policy",
    "tree": "A decision tree",
}


def _plain_rival(results: Results) -> str:
    """The plain policy that is as good as what the verdict praises, or better; "" where none is."""
    front = results.confirmed
    if front.scale.note:
        return ""
    pick, level = front.pick("keeps_95"), "keeps_95"
    if pick and results.pick == "knee":
        pick, level = front.pick("knee"), ""
    found = named_rival(front.rivals, pick or str(front.table["snapshot_id"].iloc[0]), level)
    if found is None or not (pick or found["keeps_95"]):
        return ""
    rows = {str(row["name"]): row for row in front.baselines.to_dict("records")}
    row = rows[str(found["baseline"])]
    called = f"{_CALLED[found['kind']]} of {found['weights']:,} {found['unit']}"
    told = f"return {number(row['return_mean'])}"
    if not pick:
        return f"{called} does: {told}, retained {share(row['retained'])}."
    verb = {"better": "is better", "keeps": "keeps 95 % too", "even": "can't be told from it"}
    if found["keeps_99"] and pick == front.pick("keeps_99"):
        verb["keeps"] = "does too"
    return f"{called} {verb[found['how']]}: {told}, {_apart(found)}."


def _apart(found: Mapping[str, Any]) -> str:
    """The difference to the pick, and how sure it is."""
    low, high = found["difference_low"], found["difference_high"]
    if low == high:
        return "the same on every seed" if not low else f"{signed(low)} against it on every seed"
    how = "paired by seed" if found["paired"] else "two samples"
    return f"{signed(found['difference'])} against it ({span(low, high, signed)}, 95 %, {how})"
