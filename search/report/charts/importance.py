"""Importance of hyperparameters as bars."""

from __future__ import annotations

from typing import Literal

import altair as alt

from search.front.importance import Importance
from search.front.segment_gains import GAINS
from search.report.charts.theme import COLORS, Drawing, finished, inline


def importance_chart(found: Importance, width: int | Literal["container"] = 640) -> Drawing:
    """A bar a hyperparameter and gain, with 95 % intervals.

    Args:
        found: With at least one row.
        width: In pixels, or "container".
    """
    table = found.table.copy()
    always = table["group"] == "always"
    table["name"] = table["hyperparameter"].where(
        always, table["hyperparameter"] + " (" + table["group"] + ")"
    )
    order = list(
        table.groupby("name")["importance"].max().sort_values(ascending=False, kind="stable").index
    )
    gains = list(GAINS.values())
    y = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=220))
    offset = alt.YOffset("gain:N", sort=gains)
    base = alt.Chart(inline(table)).encode(y=y, yOffset=offset)
    hover = [
        alt.Tooltip("hyperparameter:N"),
        alt.Tooltip("gain:N", title="gain in"),
        alt.Tooltip("group:N", title="acts"),
        alt.Tooltip("importance:Q", format=".3f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("effect:N"),
        alt.Tooltip("segments:Q"),
    ]
    bars = base.mark_bar(opacity=0.75).encode(
        x=alt.X("importance:Q", title="importance: share of the gain's variance (exploratory)"),
        color=alt.Color(
            "gain:N",
            scale=alt.Scale(domain=gains, range=[COLORS["front"], COLORS["pick"]]),
            legend=alt.Legend(title="gain within a segment, in", orient="top"),
        ),
        tooltip=hover,
    )
    layers: list[alt.Chart] = [bars]
    ranged = table[table["low"].notna()]
    if len(ranged):
        layers.append(
            alt.Chart(inline(ranged))
            .mark_rule(color=COLORS["ink"], strokeWidth=1.4, aria=False)
            .encode(y=y, yOffset=offset, x=alt.X("low:Q"), x2="high:Q")
        )
    return finished(
        alt.layer(*layers),
        width,
        40 + 34 * len(order),
        f"Exploratory importance of {len(order)} hyperparameters for what a segment gains in return and "
        "in decades of density, with 95 % intervals.",
    )
