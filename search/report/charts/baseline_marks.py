"""Trained baselines in the front's chart: a mark of its own for each kind."""

from __future__ import annotations

from typing import Any

import altair as alt

from search.config.baseline_kinds import TITLES
from search.front.format import number, share, span
from search.front.results import Results
from search.report.charts.theme import COLORS, inline

SHAPES = ("square", "triangle-up", "cross", "triangle-down", "triangle-right")
COLUMNS = [
    "made", "what", "score", "kept", "weights", "unit", "sparsity", "level", "env_steps", "return_mean",
    "return_ci_low", "return_ci_high",
]  # fmt: skip


def baseline_marks(results: Results, x: alt.X) -> list[Any]:
    """Layers with a point a trained baseline; none where none was trained.

    They are as large as the front's own points, intervals too. What isn't pruned stands where its
    weights, or a tree's numbers, would be of the searched network's.

    Args:
        results: The search.
        x: The chart's horizontal axis, of "weights" or "sparsity".
    """
    table = results.baselines
    table = table[table["kind"].isin(list(TITLES)) & table["return_mean"].notna()]
    if not len(table):
        return []
    kinds = set(table["kind"])
    made = {t: s for (k, t), s in zip(TITLES.items(), SHAPES, strict=True) if k in kinds}
    whole = max(s.total_params for s in results.records)
    rows = table.to_dict("records")
    points = table.assign(
        weights=table["nonzero_params"].clip(lower=1),
        sparsity=1.0 - table["nonzero_params"] / whole,
        made=table["kind"].map(TITLES),
        what=table["description"],
        score=[
            f"{number(row['return_mean'])} "
            f"({span(row['return_ci_low'], row['return_ci_high']) or row['return_note']})"
            for row in rows
        ],
        kept=[share(row["retained"]) for row in rows],
    )[COLUMNS]
    data = alt.Chart(inline(points)).encode(x=x)
    layers: list[Any] = []
    if points["return_ci_low"].notna().any():
        layers.append(
            alt.Chart(inline(points[points["return_ci_low"].notna()]))
            .mark_rule(strokeWidth=2, color=COLORS["control"])
            .encode(x=x, y=alt.Y("return_ci_low:Q"), y2="return_ci_high:Q")
        )
    layers.append(
        data.mark_point(filled=True, size=80, opacity=1, color=COLORS["control"]).encode(
            y=alt.Y("return_mean:Q"),
            shape=alt.Shape(
                "made:N",
                scale=alt.Scale(domain=list(made), range=list(made.values())),
                legend=alt.Legend(
                    title=None,
                    # Beside the other legend it would not fit on a narrow screen.
                    orient="bottom",
                    direction="vertical",
                    symbolFillColor=COLORS["control"],
                    symbolStrokeColor=COLORS["control"],
                ),
            ),
            tooltip=[
                alt.Tooltip("made:N", title="baseline"),
                alt.Tooltip("what:N", title="what it is"),
                alt.Tooltip("score:N", title="score"),
                alt.Tooltip("kept:N", title="retained"),
                alt.Tooltip("weights:Q", title="size", format=","),
                alt.Tooltip("unit:N", title="counted in"),
                alt.Tooltip("level:N", title="held against"),
                alt.Tooltip("env_steps:Q", title="env steps", format=","),
            ],
        )
    )
    return layers
