"""comparison.html: several searches on one page, and their comparison in a few lines."""

from __future__ import annotations

import math
from typing import Any

from search.front.comparison import AREAS, Comparison
from search.front.format import duration, number, span
from search.front.intervals import FEWEST
from search.report.charts.comparison import LETTERS, areas_chart, fronts_chart
from search.report.charts.theme import Drawing
from search.report.facts import Row
from search.report.page import render

ATTAINED = (
    "The thick line is what repeats attain with at most so many weights, their median (the 50 % "
    "empirical attainment surface): in each search the report score of the front policy that its "
    "selection episodes rate best among those that fit. The band holds the middle half of four or more "
    "searches (the 25 % and 75 % surfaces), all of fewer."
)
_KEEPS = " keeps 95 % of the dense policy"


def comparison_page(comparison: Comparison) -> str:
    """The comparison as one HTML document without any outside reference."""
    charts: dict[str, Drawing] = {"fronts": fronts_chart(comparison, "container")}
    if not comparison.scale.note:
        charts |= {name: areas_chart(comparison, name, "container") for name in AREAS}
    return render(
        "comparison.html.j2",
        charts,
        title=f"{len(comparison.searches)} searches compared",
        comparison=comparison,
        sentences=sentences(comparison),
        reference=reference(comparison),
        attained=ATTAINED,
        areas=list(AREAS),
        groups=group_rows(comparison),
        searches=search_rows(comparison),
        plain=plain_rows(comparison),
        plain_note=plain_note(comparison),
    )


def comparison_text(comparison: Comparison) -> str:
    """The comparison for a terminal: notes, one line a group, the reference."""
    notes = [f"note: {note}" for note in comparison.notes]
    return "\n".join([*notes, *sentences(comparison), reference(comparison)])


def headline(comparison: Comparison) -> str:
    """Such as "A keeps 95 % of the dense policy with 139 weights, B with 320."; "" without a scale.

    The fewest weights come first; of repeats it is the interquartile mean of the searches' own picks.
    """
    if comparison.scale.note:
        return ""
    rows = comparison.groups.sort_values("weights_95", kind="stable").to_dict("records")
    able = [row for row in rows if row["keep_95"]]
    none = " or ".join(str(r["group"]) for r in rows if r["measured"] and not r["keep_95"])
    unknown = " and ".join(str(row["group"]) for row in rows if not row["measured"])
    told = [f"{row['group']}{_KEEPS * (not i)} with {_weights(row)}" for i, row in enumerate(able)]
    said = [", ".join(told)] if told else []
    if none:
        said.append(f"no policy of {none} keeps it" if told else f"No policy of {none}{_KEEPS}")
    if unknown:
        said.append(f"of {unknown} nobody knows, without a dense baseline that is a measure")
    return "; ".join(said) + "."


def sentences(comparison: Comparison) -> list[str]:
    """The headline, then one sentence a group: its hypervolume, the greatest first."""
    if comparison.scale.note:
        return []
    return [headline(comparison), *_areas(comparison)]


def _areas(comparison: Comparison) -> list[str]:
    ordered = comparison.groups.sort_values("over_decades", ascending=False, kind="stable")
    return [
        f"{row['group']}: hypervolume {_area(row['over_decades'])} over decades of density, "
        f"{_of_what(row, 'over_decades')}."
        for row in ordered.to_dict("records")
    ]


def reference(comparison: Comparison) -> str:
    """Returns a sentence on the reference of all hypervolumes; empty without a scale."""
    scale = comparison.scale
    if scale.note:
        return ""
    return (
        f"Common scale: retained is 0 at a return of {number(scale.random)} and 1 at "
        f"{number(scale.dense)}, the means of the searches' random and dense baselines. Reference "
        f"point: sparsity 0 and retained {scale.retained_floor:.4f}, the mean of the better of random "
        "policy and constant action."
    )


def group_rows(comparison: Comparison) -> list[Row]:
    """The table of groups."""
    return [
        {
            "group": str(row["group"]),
            "searches": f"{row['searches']:,}",
            "hypervolume, decades": _area(row["over_decades"]),
            "interval, decades": _interval(row, "over_decades"),
            "hypervolume, sparsity": _area(row["over_sparsity"]),
            "interval, sparsity": _interval(row, "over_sparsity"),
        }
        for row in comparison.groups.to_dict("records")
    ]


def search_rows(comparison: Comparison) -> list[Row]:
    """The table of searches."""
    return [
        {
            "folder": str(row["folder"]),
            "group": str(row["group"]),
            "seed": _seed(row["seed"]),
            "points": f"{row['points']:,}",
            "hypervolume, decades": _area(row["over_decades"]),
            "hypervolume, sparsity": _area(row["over_sparsity"]),
            "weights at 95 %": number(row["weights_95"]),
            "weights at 99 %": number(row["weights_99"]),
            "env steps": number(row["training_steps"]),
            "wall-clock": duration(row["wall_time"]),
        }
        for row in comparison.searches.to_dict("records")
    ]


def _seed(seed: Any) -> str:
    """All digits of it, as it is typed."""
    return str(int(seed)) if isinstance(seed, int | float) and math.isfinite(seed) else "–"


def _weights(row: dict[Any, Any]) -> str:
    """Weights that keep 95 %, and of which searches they are, where a group has several."""
    told = f"{round(row['weights_95']):,} weights"
    if row["searches"] == 1:
        return told
    interval = span(row["weights_95_low"], row["weights_95_high"], lambda x: f"{x:,.0f}")
    of = f"{row['keep_95']} of " if row["keep_95"] < row["searches"] else ""
    unknown = row["searches"] - row["measured"]
    which = f"{of}{row['searches']} searches{f', {unknown} of them unmeasured' if unknown else ''}"
    return f"{told} ({f'95 % interval {interval}, ' if interval else ''}{which})"


def plain_rows(comparison: Comparison) -> list[Row]:
    """The table of trained baselines, over repeats."""
    return [
        {
            "baseline": str(made),
            "group": str(group),
            "searches": f"{part['folder'].nunique():,}",
            "sizes": span(part["weights"].min(), part["weights"].max())
            + f" {part['unit'].iloc[0]}",
            "median return": number(part["return_mean"].median()),
            "worst to best": span(part["return_mean"].min(), part["return_mean"].max()),
        }
        for (group, made), part in comparison.plain.groupby(["group", "made"], sort=False)
    ]


def plain_note(comparison: Comparison) -> str:
    """Returns a sentence that explains the chart's letters; empty if there are none."""
    there = set(comparison.plain["made"])
    told = [f"{letter}: {made}" for made, letter in LETTERS.items() if made in there]
    return (
        f"Letters are plain policies, with their report scores: {', '.join(told)}." if told else ""
    )


def _of_what(row: dict[Any, Any], area: str) -> str:
    if row["searches"] == 1:
        return "one search"
    whole = f"interquartile mean of {row['searches']} searches"
    interval = span(row[f"{area}_low"], row[f"{area}_high"], _area)
    return f"{whole}, 95 % interval {interval}" if interval else whole


def _interval(row: dict[Any, Any], area: str) -> str:
    found = span(row[f"{area}_low"], row[f"{area}_high"], _area)
    few = row["searches"] < FEWEST
    return found or (f"none: fewer than {FEWEST} searches" if few else "none: they don't vary")


def _area(value: Any) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"
