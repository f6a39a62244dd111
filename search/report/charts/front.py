"""The front: return against what is left of the network."""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from search.front.format import number
from search.front.results import Results
from search.front.retained import Floats
from search.report.charts.baseline_marks import baseline_marks
from search.report.charts.data import candidate_points, cloud_points
from search.report.charts.goal_marks import goal_marks
from search.report.charts.picks import pick_labels, pick_rings, picked
from search.report.charts.theme import COLORS, Drawing, finished, inline
from search.report.provisional import SERIES as PROVISIONAL
from search.report.provisional import is_provisional, provisional_layers, search_front

DensityAxis = Literal["weights", "sparsity"]

SERIES = (
    "front, report score with 95 % interval",
    "re-evaluated, not on the front",
    "search score",
)
RETURN = "mean return of an episode"
# Room below the lowest that must be seen, as a share of the axis.
EDGE = 0.12
# Room at both ends of the logarithmic axis.
MARGIN = 0.88


def front_chart(
    results: Results,
    axis: str = "weights",
    width: int | Literal["container"] = 640,
    height: int = 400,
) -> Drawing:
    """The front with intervals, near misses, the search's own scores and the baselines.

    Args:
        results: The search.
        axis: "weights" for non-zero weights on a logarithmic axis, or "sparsity".
        width: In pixels, or "container" to fill the page's column.
        height: In pixels.
    """
    front = results.confirmed
    points = candidate_points(results)
    points["series"] = np.where(points["member"], SERIES[0], SERIES[1])
    if front.figures == "selection":
        points["series"] = points["series"].str.replace("report score", "selection score")
    names = [SERIES[0].replace("report", front.figures), *SERIES[1:]]
    colors = [COLORS["front"], COLORS["near"], COLORS["muted"]]
    provisional = is_provisional(results)
    if provisional:
        names, colors = [PROVISIONAL, SERIES[2]], [COLORS["pick"], COLORS["muted"]]
    cloud, _ = cloud_points(results)
    cloud["series"] = SERIES[2]
    x = _x_axis(axis, results)
    color = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=colors),
        legend=alt.Legend(
            title=None, orient="top", direction="vertical", symbolType="circle", symbolOpacity=1
        ),
    )
    hover = _hover(points, results)
    title, scale, extent = _y_axis(points, results)
    pixel = extent / height
    y = alt.Y("return_mean:Q", title=title, scale=scale)
    layers: list[Any] = [
        alt.Chart(inline(cloud))
        .mark_circle(size=16, opacity=0.5, aria=False)
        .encode(
            x=x,
            y=alt.Y("search_return:Q", title=title, scale=scale),
            color=color,
            tooltip=[
                alt.Tooltip("snapshot_id:N", title="snapshot"),
                alt.Tooltip("search_return:Q", title="search score", format=",.4~g"),
                alt.Tooltip("sparsity:Q", format=".2%"),
                alt.Tooltip("weights:Q", title="non-zero weights", format=","),
                alt.Tooltip("env_steps:Q", title="env steps", format=","),
                alt.Tooltip("parent:N", title="started from"),
                alt.Tooltip("hyperparameters:N"),
            ],
        ),
        *_baseline_layers(results, axis, x),
        *goal_marks(results, x),
    ]
    if provisional:
        layers += provisional_layers(results, x, color)
    own, others = points[points["member"]], points[~points["member"]]
    # An empty layer has no extent, and Vega warns of it.
    if len(others):
        layers.append(
            alt.Chart(inline(others))
            .mark_point(size=34, strokeWidth=1.5, filled=False)
            .encode(x=x, y=y, color=color, tooltip=hover)
        )
    if len(own):
        base = alt.Chart(inline(own)).encode(x=x, color=color)
        layers += [
            base.mark_line(strokeWidth=2, opacity=0.7).encode(y=y, order=alt.Order("sparsity:Q")),
            # Below the points, which hover.
            *pick_labels(own, _places(own, results, axis), pixel, results.confirmed.scale.dense, x),
            *pick_rings(own, x, y, hover),
            *_intervals(inline(own), x=x, color=color, tooltip=hover),
            base.mark_circle(size=70, opacity=1).encode(y=y, tooltip=hover),
        ]
    # As visible as the front's own points: they may be better.
    layers += baseline_marks(results, x)
    what = "non-zero weights" if axis == "weights" else "sparsity"
    shown = (
        f"{len(search_front(results))} points of the search front, not re-evaluated and optimistic"
        if provisional
        else f"{len(front.table)} front points with 95 % intervals"
    )
    chart = alt.layer(*layers)
    return finished(
        chart.add_params(picked(results)) if len(own) else chart,
        width,
        height,
        f"Mean return against {what}: {shown}, trained baselines as marks, others as rules.",
    )


def _x_axis(axis: str, results: Results) -> alt.X:
    if axis == "sparsity":
        return alt.X(
            "sparsity:Q",
            title="sparsity: share of weights that are zero",
            axis=alt.Axis(format=".0%", tickCount=6),
            scale=alt.Scale(domain=[0, 1]),
        )
    total = max(s.total_params for s in results.records)
    domain = _weights_domain(results)
    fewest = domain[0] / MARGIN
    steps = (1, 3) if total > 30 * fewest else (1, 1.5, 2, 3, 5, 7)
    ticks = [k * 10**e for e in range(9) for k in steps if fewest <= k * 10**e < total / 1.15]
    share = f"datum.value / {total}"
    sparse = f"format(1 - {share}, {share} < 0.01 ? '.2%' : '.1%')"
    return alt.X(
        "weights:Q",
        title="non-zero weights (log), sparsity below",
        axis=alt.Axis(
            values=[*ticks, total],
            labelExpr=f"[format(datum.value, ','), {sparse}]",
            labelOverlap=True,
            labelFlush=True,
        ),
        scale=alt.Scale(type="log", reverse=True, domain=domain, nice=False),
    )


def _y_axis(points: pd.DataFrame, results: Results) -> tuple[str, alt.Scale, float]:
    """Title, scale and extent; what is far below a random policy would squeeze all else to a line."""
    base = results.baselines.dropna(subset=["return_mean"])
    scores = [s.return_mean for s in results.records if s.usable]
    columns = ("return_mean", "return_ci_low", "return_ci_high")
    shown = [float(value) for name in columns for value in points[name].dropna()]
    shown += list(base.loc[base["kind"] == "", "return_mean"])
    everything = [*shown, *scores, *base["return_mean"]]
    if not shown or not scores:
        return RETURN, alt.Scale(zero=False), 1.0
    low, high = min(shown), max(everything)
    extent = (high - low) or 1.0
    if min(everything) >= low - 2 * EDGE * extent:
        return RETURN, alt.Scale(zero=False), (high - min(everything)) or 1.0
    edge = _round_below(low - EDGE * extent, EDGE * extent)
    told = f"{RETURN}; {number(edge)} and less at the lower edge"
    top = high + EDGE * extent / 2
    scale = alt.Scale(zero=False, domain=[edge, top], clamp=True, nice=False)
    return told, scale, top - edge


def _round_below(value: float, near: float) -> float:
    """A number of few digits that is no greater than a value and less than `near` below it, > 0."""
    step = 10.0 ** math.floor(math.log10(near))
    # What a product of floats adds isn't told.
    return float(f"{math.floor(value / step) * step:.12g}")


def _weights_domain(results: Results) -> list[float]:
    trained = results.baselines.loc[results.baselines["kind"] != "", "nonzero_params"]
    weights = [*(s.nonzero_params for s in results.records), *trained]
    fewest = min(max(1, n) for n in weights)
    return [MARGIN * fewest, max(s.total_params for s in results.records) / MARGIN]


def _hover(points: pd.DataFrame, results: Results) -> list[alt.Tooltip]:
    fields = {
        "snapshot_id": ("policy", None),
        "score": (f"{results.confirmed.figures} score", None),
        "retained": ("retained", ".3f"),
        "p_nondominated": ("P(non-dominated)", ".2f"),
        "sparsity": ("sparsity", ".2%"),
        "nonzero_params": ("non-zero weights", ","),
        "search_return": ("search score", ",.4~g"),
        "optimism": ("optimism", ",.3~g"),
        "picked": ("picked as", None),
        "exported": ("out of Ray", None),
        "hyperparameters": ("hyperparameters", None),
        "lineage": ("lineage", None),
    }
    return [
        alt.Tooltip(f"{name}:N", title=title)
        if form is None
        else alt.Tooltip(f"{name}:Q", title=title, format=form)
        for name, (title, form) in fields.items()
        if name in points
    ]


def _baseline_layers(results: Results, axis: str, x: alt.X) -> list[Any]:
    table = results.baselines.dropna(subset=["return_mean"])
    table = table[table["kind"] == ""]
    layers: list[Any] = []
    for row in table.to_dict("records"):
        is_dense = row["name"] == "dense"
        layers.append(
            alt.Chart(_one({"y": row["return_mean"], "name": row["name"]}))
            .mark_rule(
                strokeDash=[6, 4] if is_dense else [2, 3],
                color=COLORS["dense"] if is_dense else COLORS["control"],
                strokeWidth=1.5,
            )
            .encode(y="y:Q", tooltip=[alt.Tooltip("name:N"), alt.Tooltip("y:Q", title="return")])
        )
    layers += [_rule_label(text, y, color) for text, y, color in _rule_labels(table, results)]
    dense = table[table["name"] == "dense"].assign(
        weights=lambda t: t["nonzero_params"].clip(lower=1)
    )
    if len(dense):
        data = inline(
            dense[["weights", "sparsity", "return_mean", "return_ci_low", "return_ci_high"]]
        )
        layers += [
            *_intervals(data, x=x, color=alt.value(COLORS["dense"])),
            alt.Chart(data)
            .mark_point(shape="diamond", filled=True, size=90, opacity=1, color=COLORS["dense"])
            .encode(x=x, y=alt.Y("return_mean:Q")),
        ]
    return layers


def _intervals(table: pd.DataFrame, **channels: Any) -> list[alt.Chart]:
    """Bars from low to high, of the rows that have an interval; no layer where none has."""
    ranged = table[table["return_ci_low"].notna()]
    if not len(ranged):
        return []
    bars = alt.Chart(ranged).mark_rule(strokeWidth=2)
    return [bars.encode(y=alt.Y("return_ci_low:Q"), y2="return_ci_high:Q", **channels)]


def _rule_labels(table: pd.DataFrame, results: Results) -> list[tuple[str, float, str]]:
    """A label for each rule; those of the controls become one where the rules nearly meet."""
    returns: dict[str, float] = dict(zip(table["name"], table["return_mean"], strict=True))
    labels = []
    if "dense" in returns:
        labels.append((f"dense {number(returns['dense'])}", returns["dense"], COLORS["dense"]))
    controls = {name: y for name, y in returns.items() if name != "dense"}
    scores = [*returns.values(), *(s.return_mean for s in results.records if s.usable)]
    apart = 0.06 * (max(scores, default=0.0) - min(scores, default=0.0))
    groups: list[list[tuple[str, float]]] = []
    for item in sorted(controls.items(), key=lambda pair: -pair[1]):
        if groups and groups[-1][0][1] - item[1] < apart:
            groups[-1].append(item)
        else:
            groups.append([item])
    for group in groups:
        text = " · ".join(f"{name} {number(y)}" for name, y in group)
        labels.append((text, group[0][1], COLORS["control"]))
    return labels


def _rule_label(text: str, y: float, color: str) -> Any:
    return (
        alt.Chart(_one({"y": y, "text": text}))
        .mark_text(align="left", dx=14, dy=-10, color=color, fontWeight=600)
        .encode(x=alt.value(0), y="y:Q", text="text:N")
    )


def _one(row: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([row])


def _places(points: pd.DataFrame, results: Results, axis: str) -> Floats:
    """Returns the positions of points along the horizontal axis, as a share of it from the left."""
    if axis == "sparsity":
        return points["sparsity"].to_numpy(float)
    low, high = np.log10(_weights_domain(results))
    return np.asarray((high - np.log10(points["weights"].to_numpy(float))) / (high - low))
