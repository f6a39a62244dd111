"""Parallel coordinates: each segment a line through its hyperparameters and objectives."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from search.front.format import number, percent, recipe
from search.front.results import Results
from search.front.segment_gains import is_number, scales, warped
from search.front.thinned import thinned
from search.report.charts.theme import COLORS, Drawing, finished
from search.store.archive import Snapshot

# More lines than this are a wall.
LINES = 300
# Where a line passes an axis on which it has no value.
ABSENT = -0.12
CHOICES_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Axis:
    """One vertical axis.

    Attributes:
        title: Title below the axis.
        places: Position of each line on the axis, in [0, 1] or `ABSENT`.
        labels: Height and text of its ticks.
        low: Value at position 0, on the axis's own scale.
        width: Difference between the values at positions 1 and 0.
    """

    title: str
    places: list[float]
    labels: list[tuple[float, str]]
    low: float = 0.0
    width: float = 1.0


def drawn_segments(results: Results) -> tuple[list[Snapshot], int]:
    """The last usable snapshot of each segment, thinned, and how many segments there are.

    A segment that gave a front point stays, and is shown by that point; of the others an even share.
    """
    usable = [s for s in results.records if s.usable]
    ends = {(s.member, s.segment): s for s in usable}
    on_front = set(results.confirmed.table["snapshot_id"])
    stays = {(s.member, s.segment): s for s in usable if s.snapshot_id in on_front}
    others = [s for key, s in ends.items() if key not in stays]
    room = max(0, LINES - len(stays))
    # The front last, so that it is drawn above the others.
    shown = [others[i] for i in thinned(len(others), room)] + list(stays.values())
    return shown, len(ends)


def axes(results: Results, shown: list[Snapshot]) -> list[Axis]:
    """Hyperparameters on the scale they were searched on, then return and sparsity.

    A hyperparameter that never varied has no axis.
    """
    scale_of = scales(results.config)
    found = []
    for name in sorted({name for s in shown for name in s.hyperparameters}):
        values = [s.hyperparameters.get(name) for s in shown]
        present = [v for v in values if v is not None]
        if len(set(present)) < 2 and len(present) == len(values):
            continue
        title = name.rpartition(".")[2]
        if is_number(present):
            scale = scale_of.get(name, "linear")
            mark = {"log": " (log)", "log_density": " (log)"}.get(scale, "")
            found.append(_measured(title + mark, values, scale))
        else:
            found.append(_chosen(title, values))
    found.append(_measured("return", [s.return_mean for s in shown], "linear"))
    density = [min(s.sparsity, 1 - 1 / max(1, s.total_params)) for s in shown]
    sparsity = _measured("sparsity (log)", density, "log_density")
    texts = [(place, percent(float(text))) for place, text in sparsity.labels]
    found.append(dataclasses.replace(sparsity, labels=texts))
    return found


def _measured(title: str, values: list[Any], scale: str) -> Axis:
    known = np.array([v is not None for v in values])
    present = [v for v in values if v is not None]
    x = warped(present, scale)
    low, width = float(x.min()), float(np.ptp(x)) or 1.0
    places = np.full(len(values), ABSENT)
    places[known] = (x - low) / width
    ticks = []
    for place in (0.0, 0.5, 1.0) if np.ptp(x) else (0.0,):
        at = low + place * width
        ticks.append((place, _unwarped(at, scale, present)))
    return Axis(title, [round(float(p), 4) for p in places], ticks, low, width)


def _unwarped(at: float, scale: str, values: list[Any]) -> str:
    linear = not np.array_equal(warped(values, scale), np.asarray(values, dtype=np.float64))
    if not linear:
        return f"{at:.4g}"
    if scale == "log":
        return f"{10**at:.2g}"
    # Near 1 as many digits as tell a density from 0.
    return f"{-math.expm1(-at * math.log(10)):.{max(4, math.ceil(at) + 1)}g}"


def _slider(axis: Axis, index: int) -> alt.Parameter:
    """Moves up one of the objectives; the lowest line passes at its start."""
    name = "Decades of density at least " if "sparsity" in axis.title else "Return at least "
    low, step = math.floor(100 * axis.low) / 100, float(f"{axis.width / 100:.0e}")
    bind = alt.binding_range(min=low, max=axis.low + axis.width, step=step, name=name)
    return alt.param(name=f"least_{index}", value=low, bind=bind)


def _chosen(title: str, values: list[Any]) -> Axis:
    kinds = sorted({str(v) for v in values if v is not None})
    at = {kind: i / max(1, len(kinds) - 1) for i, kind in enumerate(kinds)}
    places = [ABSENT if v is None else round(at[str(v)], 4) for v in values]
    return Axis(title, places, [(at[k], k) for k in kinds[:CHOICES_SHOWN]])


def parallel_chart(
    results: Results, width: int | Literal["container"] = 640, height: int = 340
) -> Drawing:
    """Lines through all axes; dragging over an axis keeps the lines that pass there.

    Two sliders do the same for the objectives, so that the keyboard reaches it.

    Args:
        results: The search.
        width: In pixels, or "container".
        height: In pixels.
    """
    shown, segments = drawn_segments(results)
    drawn = axes(results, shown)
    on_front = set(results.confirmed.table["snapshot_id"])
    lines = pd.DataFrame(
        {
            "snapshot_id": [s.snapshot_id for s in shown],
            "series": ["front" if s.snapshot_id in on_front else "other" for s in shown],
            "return": [number(s.return_mean) for s in shown],
            "sparsity": [percent(s.sparsity) for s in shown],
            "recipe": [recipe(s.hyperparameters) for s in shown],
            **{f"a{i}": axis.places for i, axis in enumerate(drawn)},
        }
    )
    ticks = pd.DataFrame(
        [
            {"axis": i, "place": place, "text": text}
            for i, axis in enumerate(drawn)
            for place, text in axis.labels
        ]
    )
    names = [axis.title for axis in drawn]
    last = len(drawn) - 1
    sliders = [_slider(axis, i) for i, axis in zip((last - 1, last), drawn[-2:], strict=True)]
    brush = alt.selection_interval(
        name="brush", mark=alt.BrushConfig(fill=COLORS["pick"], fillOpacity=0.18)
    )
    x = alt.X(
        "axis:Q",
        title=None,
        scale=alt.Scale(domain=[-0.35, last + 0.55], nice=False),
        axis=alt.Axis(
            values=list(range(len(drawn))),
            labelExpr=f"{names!r}[datum.value]",
            labelAngle=-20,
            labelAlign="right",
            labelLimit=150,
            labelOverlap=False,
            domain=False,
            ticks=False,
            grid=True,
        ),
    )
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[ABSENT - 0.06, 1.06], nice=False))
    outside = (
        "isValid(brush.axis) && inrange(datum.axis, brush.axis) && "
        "!inrange(datum.place, brush.place)"
    )
    below = " || ".join(
        f"(datum.axis === {i} && datum.place < (least_{i} - {drawn[i].low}) / {drawn[i].width})"
        for i in (last - 1, last)
    )
    base = (
        alt.Chart(lines)
        .transform_fold([f"a{i}" for i in range(len(drawn))], as_=["key", "place"])
        .transform_calculate(axis="toNumber(substring(datum.key, 1))")
        .transform_calculate(passes=f"({outside}) || {below} ? 0 : 1")
        .transform_joinaggregate(kept="min(passes)", groupby=["snapshot_id"])
    )
    base = base.encode(
        x=x,
        y=y,
        color=alt.Color(
            "series:N",
            scale=alt.Scale(domain=["front", "other"], range=[COLORS["front"], COLORS["muted"]]),
            legend=alt.Legend(title="segment that gave", orient="top"),
        ),
        opacity=alt.condition("datum.kept === 0", alt.value(0.05), alt.value(0.6)),
    )
    strands = base.mark_line(strokeWidth=1.5, aria=False).encode(
        detail="snapshot_id:N", order="axis:Q"
    )
    # A line only answers to the pointer at its vertices, and hardly there.
    vertices = base.mark_circle(size=24, aria=False).encode(
        tooltip=[
            alt.Tooltip("snapshot_id:N", title="snapshot"),
            alt.Tooltip("return:N", title="search score"),
            alt.Tooltip("sparsity:N"),
            alt.Tooltip("recipe:N", title="hyperparameters"),
        ],
    )
    text = (
        alt.Chart(ticks)
        .mark_text(align="left", dx=4, fontSize=10, color=COLORS["ink"], aria=False)
        .encode(x=x, y=y, text="text:N")
    )
    return finished(
        alt.layer(strands, vertices, text).add_params(brush, *sliders),
        width,
        height,
        f"Parallel coordinates: {len(shown):,} of {segments:,} segments as lines through "
        f"{', '.join(names)}.",
    )
