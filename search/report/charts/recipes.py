"""Recipes on fresh seeds beside the checkpoints that they once gave."""

from __future__ import annotations

from typing import Literal

import altair as alt

from search.front.format import percent
from search.front.recipe_check import RECIPE
from search.front.results import Results
from search.report.charts.theme import COLORS, Drawing, finished, inline

CHECKPOINT, SEED, MIDDLE = "this checkpoint", "recipe, a seed", "recipe, interquartile mean"


def recipes_chart(results: Results, width: int | Literal["container"] = 640) -> Drawing:
    """A row a point: its checkpoint's return, each seed's, their interquartile mean, and intervals.

    Args:
        results: A search whose recipes were replayed.
        width: In pixels, or "container".
    """
    table = results.recipe_check.copy()
    table["policy"] = [
        f"{percent(s)} · {name}"
        for s, name in zip(table["checkpoint_sparsity"], table["snapshot_id"], strict=True)
    ]
    order = list(dict.fromkeys(table["policy"]))
    recipes = table[table["row"] == RECIPE].assign(series=MIDDLE)
    seeds = table[table["row"] != RECIPE].assign(series=SEED)
    points = recipes.assign(
        series=CHECKPOINT,
        return_mean=recipes["checkpoint_return"],
        return_ci_low=recipes["checkpoint_ci_low"],
        return_ci_high=recipes["checkpoint_ci_high"],
        sparsity=recipes["checkpoint_sparsity"],
    )
    names = [CHECKPOINT, SEED, MIDDLE]
    colors = [COLORS["pick"], COLORS["near"], COLORS["front"]]
    color = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=colors),
        legend=alt.Legend(title=None, orient="top", symbolOpacity=1),
    )
    shape = alt.Shape(
        "series:N",
        scale=alt.Scale(domain=names, range=["square", "circle", "diamond"]),
        legend=alt.Legend(title=None, orient="top"),
    )
    x = alt.X(
        "return_mean:Q",
        title="mean return of an episode",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(tickCount=6),
    )
    # The checkpoint above, what its recipe gives below.
    y = alt.Y("policy:N", sort=order, title=None, axis=alt.Axis(labelLimit=240))
    layers: list[alt.Chart] = []
    for part, size, offset in ((points, 90, -9), (seeds, 50, 9), (recipes, 130, 9)):
        drawn = part.dropna(subset=["return_mean"])
        if not len(drawn):
            continue
        columns = ["policy", "series", "row", "return_mean", "sparsity"]
        ranged = drawn[drawn["return_ci_low"].notna() & (drawn["series"] != SEED)]
        if len(ranged):
            layers.append(
                alt.Chart(inline(ranged[[*columns, "return_ci_low", "return_ci_high"]]))
                .mark_rule(strokeWidth=2, yOffset=offset, aria=False)
                .encode(x=alt.X("return_ci_low:Q"), x2="return_ci_high:Q", y=y, color=color)
            )
        layers.append(
            alt.Chart(inline(drawn[columns]))
            .mark_point(filled=True, size=size, opacity=0.9, yOffset=offset)
            .encode(
                x=x,
                y=y,
                color=color,
                shape=shape,
                tooltip=[
                    alt.Tooltip("policy:N"),
                    alt.Tooltip("series:N", title="what"),
                    alt.Tooltip("row:N", title="training"),
                    alt.Tooltip("return_mean:Q", title="return", format=",.4~g"),
                    alt.Tooltip("sparsity:Q", format=".2%"),
                ],
            )
        )
    trained = int(recipes["seeds"].sum())
    return finished(
        alt.layer(*layers),
        width,
        60 + 52 * len(order),
        f"Recipe check of {len(order)} front policies: returns of the checkpoints (squares), of "
        f"{trained} trainings of their recipes (dots) and interquartile means (diamonds), with 95 % "
        "intervals.",
    )
