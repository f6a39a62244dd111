"""Picks in the front's chart: a ring and a label each, and a halo behind the one to ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from search.front.results import Results
from search.front.retained import Floats
from search.report.charts.theme import COLORS, inline

# The chart's parameter that holds the chosen policy; the page's controls set it.
PICKED = "picked"
# Labels closer than this share of the horizontal axis are set above each other, lines of so many pixels.
CROWDED, LINE = 0.16, 15
# So many pixels below the dense rule a label would be struck through.
NEAR = 24


def picked(results: Results) -> alt.Parameter:
    """The chosen policy, at first the pick of the verdict."""
    return alt.param(
        name=PICKED, value=results.confirmed.pick(results.pick) if results.pick else ""
    )


def pick_rings(
    members: pd.DataFrame, x: alt.X, y: alt.Y, tooltip: Sequence[alt.Tooltip]
) -> list[Any]:
    """A halo behind the chosen point and rings around the picks, which hover as the points do.

    Args:
        members: The front's points.
        x: The chart's horizontal axis.
        y: Its vertical one.
        tooltip: Tooltip of the points.
    """
    halo = (
        alt.Chart(inline(members))
        .transform_filter(f"datum.snapshot_id === {PICKED}")
        .mark_circle(size=520, opacity=0.3, color=COLORS["pick"])
        .encode(x=x, y=y, tooltip=tooltip)
    )
    picks = members[members["marks"] != ""]
    if not len(picks):
        return [halo]
    rings = (
        alt.Chart(inline(picks))
        .mark_point(
            size=190, strokeWidth=2, filled=False, color=COLORS["pick"], opacity=1, aria=False
        )
        .encode(x=x, y=y, tooltip=tooltip)
    )
    return [halo, rings]


def pick_labels(
    members: pd.DataFrame, places: Floats, pixel: float, dense: float, x: alt.X
) -> list[Any]:
    """Returns labels of the picks: right of the point, or left of it at the right edge.

    Args:
        members: The front's points.
        places: Position of each point along the horizontal axis, as a share of it from the left.
        pixel: The return that a pixel of the vertical axis stands for, > 0.
        dense: The dense baseline's return, which has a rule.
        x: The chart's horizontal axis.
    """
    named = (members["marks"] != "").to_numpy()
    picks = members[named].copy()
    picks["label"] = picks["marks"].str.replace("95 % and 99 %", "95, 99 %")
    layers: list[Any] = []
    # Where labels stand: along the axis, and pixels below a return of 0.
    taken: list[tuple[float, float]] = []
    for row, place in zip(picks.to_dict("records"), places[named], strict=True):
        at_edge = place > 0.75
        own = -row["return_mean"] / pixel
        # A label is set above the dense rule where that would strike it through.
        above = 0 <= dense - row["return_mean"] < NEAR * pixel and not at_edge
        y = (-dense / pixel if above else own) + (LINE if at_edge else -6)
        while any(abs(place - p) < CROWDED and abs(y - q) < LINE for p, q in taken):
            y += LINE if at_edge else -LINE
        taken.append((place, y))
        label = {key: row[key] for key in ("sparsity", "weights", "label", "return_mean")}
        layers.append(
            alt.Chart(pd.DataFrame([label]))
            .mark_text(
                align="right" if at_edge else "left",
                dx=-15 if at_edge else 15,
                dy=round(y - own),
                fontWeight=600,
                color=COLORS["pick"],
            )
            .encode(x=x, y=alt.Y("return_mean:Q"), text="label:N")
        )
    return layers
