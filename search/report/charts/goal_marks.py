"""The goal in the front's chart: a rule for each limit that it sets."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from search.front.results import Results
from search.report.charts.theme import COLORS, inline


def goal_marks(results: Results, x: alt.X) -> list[Any]:
    """Layers with a rule at the most weights and at the least return; none without a goal.

    Args:
        results: The search.
        x: The chart's horizontal axis, of "weights" or "sparsity".
    """
    most, share = results.goal.max_weights, results.goal.min_retained
    scale = results.confirmed.scale
    layers: list[Any] = []
    if most is not None:
        total = max(s.total_params for s in results.records)
        text = f"goal: at most {most:,} weights"
        row = {"weights": most, "sparsity": max(0.0, 1.0 - most / total), "text": text}
        layers += _rule(row, x=x)
        layers.append(_label(row, x=x, y=alt.value("height"), align="right", dx=-6, dy=-60))
    if share is not None and not scale.note:
        least = scale.random + share * (scale.dense - scale.random)
        row = {"y": least, "text": f"goal: keeps {100 * share:.4g} %"}
        layers += _rule(row, y=alt.Y("y:Q"))
        right = alt.value("width")
        layers.append(_label(row, x=right, y=alt.Y("y:Q"), align="right", dx=-6, dy=-8))
    return layers


def _rule(row: dict[str, Any], **at: Any) -> list[alt.Chart]:
    data = inline(pd.DataFrame([row]))
    # Beyond what the chart shows, a rule would be drawn outside of it.
    rule = alt.Chart(data).mark_rule(
        strokeDash=[10, 3], strokeWidth=1.5, color=COLORS["pick"], clip=True
    )
    return [rule.encode(**at, tooltip=[alt.Tooltip("text:N", title="searched for")])]


def _label(row: dict[str, Any], *, x: Any, y: Any, **how: Any) -> alt.Chart:
    data = inline(pd.DataFrame([row]))
    text: alt.Chart = alt.Chart(data).mark_text(
        color=COLORS["pick"], fontWeight=600, clip=True, baseline="middle", **how
    )
    return text.encode(x=x, y=y, text="text:N")
