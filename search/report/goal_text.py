"""What came of a search's goal, in a sentence: met by which policy, or how near one came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.front.format import number, share, span
from search.front.goal import nearest_to_goal, shortfall
from search.front.results import Results


def goal_sentence(results: Results) -> str:
    """Such as "Goal: at most 1,000 weights – met by m03-s004-i0027 with 812 …"; "" without a goal.

    Whether it is met is decided on selection episodes, as picks are; the figures are the report's.
    """
    if not results.goal.given:
        return ""
    goal = f"Goal: {results.goal.in_words} –"
    rows = {row["snapshot_id"]: row for row in results.confirmed.table.to_dict("records")}
    if met := results.confirmed.pick("goal"):
        row = rows[met]
        return f"{goal} met by {met} with {_figures(row)}{_doubt(results, row)}."
    nearest = _nearest(results)
    if nearest is None:
        return f"{goal} nobody knows: {results.confirmed.scale.note or 'the front is empty'}."
    return f"{goal} not met; nearest is {nearest['snapshot_id']} with {_figures(nearest)}."


def missed_goal(results: Results) -> str:
    """That what is taken where no point is named misses the goal; "" where it meets it."""
    if not results.goal.given or results.confirmed.pick("goal"):
        return ""
    return f"{goal_sentence(results)} Without --point, {results.pick or 'no point'} is taken."


def _nearest(results: Results) -> Mapping[Any, Any] | None:
    table = results.confirmed.table
    weights, kept = (table[name].to_numpy(float) for name in ("nonzero_params", "retained"))
    at = nearest_to_goal(results.goal, weights, kept)
    return None if at is None else table.to_dict("records")[at]


def _figures(row: Mapping[Any, Any]) -> str:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    told = f"{number(row['return_mean'])} ({interval})" if interval else number(row["return_mean"])
    kept = share(row["retained"])
    return f"{int(row['nonzero_params']):,} weights, which returns {told}" + (
        f", retained {kept}" if kept != "–" else ""
    )


def _doubt(results: Results, row: Mapping[Any, Any]) -> str:
    """That the report's episodes see a point below what the selection's chose it for."""
    lacks = shortfall(results.goal, [row["nonzero_params"]], [row["retained"]])[0]
    return " (less than the goal on these episodes, which did not choose it)" if lacks > 0 else ""
