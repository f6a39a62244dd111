"""Charts of a search's course: hypervolume, members, family tree."""

from __future__ import annotations

from typing import Literal

import altair as alt

from search.front.results import Results
from search.report.charts.data import lineage_points, training_points
from search.report.charts.theme import COLORS, MEMBERS, Drawing, finished, inline

Width = int | Literal["container"]
STEPS = alt.Axis(
    tickCount=6,
    labelExpr=(
        "datum.value >= 1e6 ? format(datum.value / 1e6, '~g') + ' M' : "
        "datum.value >= 1e3 ? format(datum.value / 1e3, '~g') + ' k' : datum.label"
    ),
)
DECADES = [k * 10.0**-e for e in range(8) for k in (1, 0.3)]
SPARSITY_LABEL = "format(1 - datum.value, datum.value < 0.1 ? '.3~%' : '.0%')"


def hypervolume_chart(
    results: Results,
    value: str = "over_decades",
    width: Width = 640,
    height: int = 220,
    *,
    clock: str = "env_steps",
) -> Drawing:
    """Hypervolume of the search's own scores over the training steps of all members, or over time.

    Args:
        results: The search; its scale must be known.
        value: "over_decades" of density, or "over_sparsity".
        width: In pixels, or "container".
        height: In pixels.
        clock: "env_steps", or "minutes" of wall-clock since the search started.
    """
    axis = "decades of density" if value == "over_decades" else "sparsity"
    in_steps = clock == "env_steps"
    title = "training env steps of all members" if in_steps else "wall-clock, minutes"
    area = (
        alt.Chart(inline(results.hypervolume))
        .mark_area(
            interpolate="step-after",
            color=COLORS["front"],
            opacity=0.18,
            line={"color": COLORS["front"], "strokeWidth": 2},
        )
        .encode(
            x=alt.X(f"{clock}:Q", title=title, axis=STEPS if in_steps else alt.Axis(tickCount=6)),
            y=alt.Y(f"{value}:Q", title=f"retained × {axis}"),
            tooltip=[
                alt.Tooltip("env_steps:Q", title="env steps", format=","),
                alt.Tooltip("minutes:Q", format=".1f"),
                alt.Tooltip(f"{value}:Q", title="hypervolume", format=".4f"),
            ],
        )
    )
    what = f"Hypervolume over (retained, {axis}) against {title}."
    return finished(area, width, height, what)


def training_chart(
    results: Results, value: str = "return_mean", width: Width = 640, height: int = 280
) -> Drawing:
    """Each member over its lineage's clock; a triangle where it copied another member.

    Args:
        results: The search.
        value: "return_mean" or "sparsity".
        width: In pixels, or "container".
        height: In pixels.
    """
    points = training_points(results)
    is_return = value == "return_mean"
    members = sorted(int(m) for m in points["member"].unique())
    highlight = alt.param(
        name="highlight",
        value="all",
        bind=alt.binding_select(
            options=["all", *members],
            labels=["all", *(f"member {m}" for m in members)],
            name="Highlight ",
        ),
    )
    x = alt.X("env_steps:Q", title="env steps of the lineage", axis=STEPS)
    y = (
        alt.Y("return_mean:Q", title="search score: mean return")
        if is_return
        else alt.Y(
            "density:Q",
            title="sparsity, logarithmic in the density",
            scale=alt.Scale(type="log", reverse=True),
            axis=alt.Axis(labelExpr=SPARSITY_LABEL, values=DECADES),
        )
    )
    color = alt.Color(
        "member:N",
        scale=alt.Scale(range=list(MEMBERS)),
        legend=alt.Legend(orient="top", columns=8) if len(members) <= len(MEMBERS) else None,
    )
    shown = alt.condition("highlight == 'all' || datum.member == highlight", *_opacity(members))
    hover = [
        alt.Tooltip("snapshot_id:N", title="snapshot"),
        alt.Tooltip("env_steps:Q", title="env steps", format=","),
        alt.Tooltip("return_mean:Q", title="search score", format=",.4~g"),
        alt.Tooltip("sparsity:Q", format=".2%"),
        alt.Tooltip("schedule:N"),
        alt.Tooltip("donor:N", title="copied from"),
    ]
    base = alt.Chart(inline(points))
    lines = base.mark_line(strokeWidth=1.6, point=False, aria=False).encode(
        x=x, y=y, color=color, opacity=shown, detail="strand:N"
    )
    dots = base.mark_circle(size=18, aria=False).encode(
        x=x, y=y, color=color, opacity=shown, tooltip=hover
    )
    copies = (
        alt.Chart(inline(points[points["donor"] != ""]))
        .mark_point(shape="triangle-up", size=70, filled=True)
        .encode(x=x, y=y, color=color, opacity=shown, tooltip=hover)
    )
    return finished(
        alt.layer(lines, dots, copies).add_params(highlight),
        width,
        height,
        f"{'Return' if is_return else 'Sparsity'} of {len(members)} members over training, "
        f"{len(points):,} of {len(results.records):,} snapshots; triangles mark copies of another "
        "member.",
    )


def lineage_chart(results: Results, width: Width = 640, height: int | None = None) -> Drawing:
    """The family tree: a bar a segment, an arc where a member copied another.

    Args:
        results: The search.
        width: In pixels, or "container".
        height: In pixels; by default it grows with the members.
    """
    bars, copies = lineage_points(results)
    segments_made = len({(s.member, s.segment) for s in results.records})
    members = int(bars["member"].max()) + 1
    order = list(range(members))
    x = alt.X("start:Q", title="env steps of the lineage", axis=STEPS)
    y = alt.Y("member:O", title="member", sort=order, scale=alt.Scale(domain=order))
    strong = alt.condition("datum.leads", alt.value(1.0), alt.value(0.25))
    segments = (
        alt.Chart(inline(bars))
        .mark_bar(height={"band": 0.55}, cornerRadius=2, stroke=COLORS["quiet"], strokeWidth=0.6)
        .encode(
            x=x,
            x2="stop:Q",
            y=y,
            color=alt.Color(
                "density:Q",
                scale=alt.Scale(type="log", scheme="viridis"),
                legend=alt.Legend(
                    title="sparsity at its end",
                    labelExpr=SPARSITY_LABEL,
                    orient="top",
                    gradientLength=180,
                    values=[10.0**-e for e in range(8) if bars["density"].min() <= 10.0**-e],
                ),
            ),
            opacity=strong,
            tooltip=[
                alt.Tooltip("member:O"),
                alt.Tooltip("segment:O"),
                alt.Tooltip("return_mean:Q", title="last search score", format=",.4~g"),
                alt.Tooltip("sparsity:Q", format=".2%"),
                alt.Tooltip("leads:N", title="leads to the front"),
                alt.Tooltip("hyperparameters:N"),
            ],
        )
    )
    layers: list[alt.Chart] = [segments]
    if len(copies):
        # Slanted, so that copies of the same moment don't hide each other.
        slant = 0.012 * bars["stop"].max()
        data = inline(copies.assign(left=copies["start"] - slant, right=copies["start"] + slant))
        layers += [
            alt.Chart(data)
            .mark_rule(color=COLORS["pick"], strokeWidth=1.4)
            .encode(
                x=alt.X("left:Q"),
                x2="right:Q",
                y=alt.Y("from:O", sort=order),
                y2="to:O",
                opacity=strong,
            ),
            alt.Chart(data)
            .mark_circle(color=COLORS["pick"], size=42)
            .encode(
                opacity=strong,
                x=alt.X("right:Q"),
                y=alt.Y("to:O", sort=order),
                tooltip=[
                    alt.Tooltip("to:O", title="member"),
                    alt.Tooltip("donor:N", title="copied"),
                ],
            ),
        ]
    return finished(
        alt.layer(*layers),
        width,
        height or min(720, 60 + 22 * members),
        f"Family tree of {members} members: {len(bars):,} of {segments_made:,} segments, "
        f"{len(copies):,} copies between members; strong bars lead to the front.",
    )


def _opacity(members: list[int]) -> tuple[alt.Value, alt.Value]:
    return alt.value(0.85 if len(members) <= len(MEMBERS) else 0.45), alt.value(0.08)
