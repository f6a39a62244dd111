"""Sentences about a search's goal: the policy that meets it, or how near one came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.front.format import number, share, span
from search.front.goal import nearest_to_goal, shortfall
from search.front.membership import scale_from, usable
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
        doubt = " (less than the goal on these episodes, which did not choose it)"
        return f"{goal} met by {met} with {_figures(row)}{doubt * (not _enough(results, row))}."
    nearest = _nearest(results)
    if nearest is None:
        return f"{goal} nobody knows: {results.confirmed.scale.note or 'the front is empty'}."
    told = f"{goal} not met; nearest is {nearest['snapshot_id']} with {_figures(nearest)}"
    doubt = " (enough on these episodes, but too little on those that decide)"
    return f"{told}{doubt * _enough(results, nearest)}."


def missed_goal(results: Results) -> str:
    """Returns a warning that the default point misses the goal; empty if it meets it."""
    if not results.goal.given or results.confirmed.pick("goal"):
        return ""
    return f"{goal_sentence(results)} Without --point, {results.pick or 'no point'} is taken."


def _nearest(results: Results) -> Mapping[Any, Any] | None:
    """The point that comes nearest by the episodes that decide."""
    table = results.confirmed.table
    scale = scale_from(usable(results.evaluations, "selection"), results.baseline_records)
    kept = scale.retained(table["selection_return"].to_numpy(float))
    at = nearest_to_goal(results.goal, table["nonzero_params"].to_numpy(float), kept)
    return None if at is None else table.to_dict("records")[at]


def _figures(row: Mapping[Any, Any]) -> str:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    told = f"{number(row['return_mean'])} ({interval})" if interval else number(row["return_mean"])
    kept = share(row["retained"])
    return f"{int(row['nonzero_params']):,} weights, which returns {told}" + (
        f", retained {kept}" if kept != "–" else ""
    )


def _enough(results: Results, row: Mapping[Any, Any]) -> bool:
    """Whether a point meets the goal on the report's episodes too; the selection's decided."""
    lacks = shortfall(results.goal, [row["nonzero_params"]], [row["retained"]])[0]
    return bool(lacks == 0)
