"""Charts that lay several searches over each other."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import pandas as pd

from search.front.comparison import AREAS, Comparison
from search.front.format import number
from search.report.charts.theme import COLORS, MEMBERS, Drawing, finished, inline

Width = int | Literal["container"]
# So that groups differ without colour too.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
# What a plain policy's mark says, by its kind.
LETTERS = {
    "random masks": "R",
    "small dense network": "D",
    "trained once, then pruned": "P",
    "linear policy": "L",
    "decision tree": "T",
}


def _color(comparison: Comparison, *, legend: bool = True) -> alt.Color:
    names = list(comparison.groups["group"])
    colors = [MEMBERS[i % len(MEMBERS)] for i in range(len(names))]
    return alt.Color(
        "group:N",
        scale=alt.Scale(domain=names, range=colors),
        legend=alt.Legend(title=None, orient="top", columns=1, symbolOpacity=1) if legend else None,
    )


def _shape(comparison: Comparison) -> alt.Shape:
    names = list(comparison.groups["group"])
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    return alt.Shape("group:N", scale=alt.Scale(domain=names, range=shapes))


def fronts_chart(comparison: Comparison, width: Width = 640, height: int = 420) -> Drawing:
    """Every search's front and plain policies; over repeats empirical attainment surfaces.

    Args:
        comparison: The searches.
        width: In pixels, or "container".
        height: In pixels.
    """
    fronts, bands = comparison.fronts, comparison.bands
    color, shape = _color(comparison), _shape(comparison)
    x = alt.X(
        "weights:Q",
        title="non-zero weights (log)",
        scale=alt.Scale(type="log", reverse=True, nice=False, padding=12),
        axis=alt.Axis(tickCount=6, format=",~r", labelOverlap=True),
    )
    y = alt.Y("return_mean:Q", title="mean return of an episode", scale=alt.Scale(zero=False))
    layers: list[Any] = []
    if len(bands):
        base = alt.Chart(inline(bands)).encode(x=x, color=color)
        layers += [
            base.mark_area(interpolate="step-after", opacity=0.16, aria=False).encode(
                y=alt.Y("low:Q"), y2="high:Q"
            ),
            base.mark_line(interpolate="step-after", strokeWidth=2.5).encode(
                y=alt.Y("median:Q"),
                tooltip=[
                    alt.Tooltip("group:N"),
                    alt.Tooltip("weights:Q", title="at most weights", format=","),
                    alt.Tooltip("low:Q", format=",.4~g"),
                    alt.Tooltip("median:Q", title="median attained", format=",.4~g"),
                    alt.Tooltip("high:Q", format=",.4~g"),
                ],
            ),
        ]
    base = alt.Chart(inline(fronts)).encode(x=x, color=color)
    ranged = fronts[fronts["return_ci_low"].notna()]
    if len(ranged):
        bars = alt.Chart(inline(ranged)).mark_rule(strokeWidth=1.2, opacity=0.6, aria=False)
        layers.append(
            bars.encode(x=x, color=color, y=alt.Y("return_ci_low:Q"), y2="return_ci_high:Q")
        )
    layers += [
        base.mark_line(strokeWidth=1, opacity=0.45, strokeDash=[4, 3], aria=False).encode(
            y=y, detail="folder:N"
        ),
        base.mark_point(filled=True, size=48, opacity=0.9).encode(
            y=y,
            shape=shape,
            tooltip=[
                alt.Tooltip("group:N"),
                alt.Tooltip("folder:N"),
                alt.Tooltip("snapshot_id:N", title="policy"),
                alt.Tooltip("return_mean:Q", title="report score", format=",.4~g"),
                alt.Tooltip("retained:Q", format=".3f"),
                alt.Tooltip("weights:Q", title="non-zero weights", format=","),
                alt.Tooltip("sparsity:Q", format=".2%"),
            ],
        ),
    ]
    layers += _plain(comparison, x, color)
    if not comparison.scale.note:
        layers += _dense(comparison)
    return finished(
        alt.layer(*layers),
        width,
        height,
        f"Mean return against non-zero weights: fronts of {len(comparison.searches)} searches in "
        f"{len(comparison.groups)} groups{'; bands show what repeats attain' if len(bands) else ''}.",
    )


def _plain(comparison: Comparison, x: alt.X, color: alt.Color) -> list[Any]:
    """A letter for each trained baseline, with its interval."""
    if not len(comparison.plain):
        return []
    table = comparison.plain.assign(letter=comparison.plain["made"].map(LETTERS))
    layers: list[Any] = []
    ranged = table[table["return_ci_low"].notna()]
    if len(ranged):
        bars = alt.Chart(inline(ranged)).mark_rule(strokeWidth=1.2, opacity=0.6, aria=False)
        layers.append(
            bars.encode(x=x, color=color, y=alt.Y("return_ci_low:Q"), y2="return_ci_high:Q")
        )
    marks = alt.Chart(inline(table)).mark_text(fontSize=13, fontWeight=700)
    layers.append(
        marks.encode(
            x=x,
            y=alt.Y("return_mean:Q"),
            color=color,
            text="letter:N",
            tooltip=[
                alt.Tooltip("group:N"),
                alt.Tooltip("folder:N"),
                alt.Tooltip("made:N", title="baseline"),
                alt.Tooltip("weights:Q", title="size", format=","),
                alt.Tooltip("unit:N", title="counted in"),
                alt.Tooltip("return_mean:Q", title="report score", format=",.4~g"),
            ],
        )
    )
    return layers


def _dense(comparison: Comparison) -> list[alt.Chart]:
    level = comparison.scale.dense
    data = pd.DataFrame([{"y": level, "text": f"dense {number(level)}"}])
    base = alt.Chart(data).encode(y=alt.Y("y:Q"))
    return [
        base.mark_rule(strokeDash=[6, 4], color=COLORS["dense"], strokeWidth=1.5, aria=False),
        base.mark_text(align="left", dx=14, dy=-10, color=COLORS["dense"], fontWeight=600).encode(
            x=alt.value(0), text="text:N"
        ),
    ]


def areas_chart(comparison: Comparison, area: str, width: Width = 640) -> Drawing:
    """The hypervolume of each search, and each group's interquartile mean with its interval.

    Args:
        comparison: The searches; their scale must be known.
        area: "over_decades" or "over_sparsity".
        width: In pixels, or "container".
    """
    names = list(comparison.groups["group"])
    color = _color(comparison, legend=False)
    y = alt.Y("group:N", sort=names, title=None, axis=alt.Axis(labelLimit=200))
    x = alt.X(
        f"{area}:Q", title=f"hypervolume, retained × {AREAS[area]}", scale=alt.Scale(zero=False)
    )
    dots = (
        alt.Chart(inline(comparison.searches[["group", "folder", area]]))
        .mark_circle(size=46, opacity=0.55)
        .encode(
            x=x,
            y=y,
            color=color,
            tooltip=[
                alt.Tooltip("group:N"),
                alt.Tooltip("folder:N"),
                alt.Tooltip(f"{area}:Q", title="hypervolume", format=".4f"),
            ],
        )
    )
    groups = comparison.groups
    low, high = f"{area}_low", f"{area}_high"
    layers: list[alt.Chart] = [dots]
    ranged = groups[groups[low].notna()]
    if len(ranged):
        layers.append(
            alt.Chart(inline(ranged[["group", low, high]]))
            .mark_rule(strokeWidth=2.5, aria=False)
            .encode(x=alt.X(f"{low}:Q"), x2=f"{high}:Q", y=y, color=color)
        )
    repeated = groups[groups["searches"] > 1]
    if len(repeated):
        layers.append(
            alt.Chart(inline(repeated[["group", "searches", area]]))
            .mark_point(shape="diamond", filled=True, size=120, opacity=1)
            .encode(
                x=x,
                y=y,
                color=color,
                tooltip=[
                    alt.Tooltip("group:N"),
                    alt.Tooltip("searches:Q"),
                    alt.Tooltip(f"{area}:Q", title="interquartile mean", format=".4f"),
                ],
            )
        )
    return finished(
        alt.layer(*layers),
        width,
        50 + 44 * len(names),
        f"Hypervolume over (retained, {AREAS[area]}) of {len(comparison.searches)} searches in "
        f"{len(names)} groups; diamonds are interquartile means of repeats.",
    )
