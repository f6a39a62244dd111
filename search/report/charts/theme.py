"""Colours and chart settings. The palette is Okabe and Ito's, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

Drawing = alt.Chart | alt.LayerChart | alt.FacetChart

# Light-mode colours by role; vermilion and green are a little darker than Okabe and Ito's, because
# text is set in them. The page replaces each by the CSS variable of that name, so that one chart serves
# light, dark and print.
COLORS = {
    "ink": "#1f2630",
    "quiet": "#5b6573",
    "line": "#dfe3e8",
    "muted": "#9aa4b1",
    "front": "#0072b2",
    "near": "#56b4e9",
    "pick": "#bf4f00",
    "dense": "#007f5f",
    "control": "#8a5a83",
}
# Members, in turn; Okabe and Ito without black and with a yellow that shows on white.
MEMBERS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b8a800",
    "#7a7a7a",
)
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


def config() -> dict[str, Any]:
    """Vega-Lite's `config` for every chart."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": COLORS["quiet"],
            "titleColor": COLORS["ink"],
            "titleFontWeight": 500,
            "titleFontSize": 12,
            "labelFontSize": 11,
            "titlePadding": 10,
            "gridColor": COLORS["line"],
            "domainColor": COLORS["line"],
            "tickColor": COLORS["line"],
        },
        "axisX": {"grid": False},
        "legend": {
            "labelColor": COLORS["ink"],
            "titleColor": COLORS["quiet"],
            "titleFontWeight": 500,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelLimit": 320,
            "symbolStrokeWidth": 2,
        },
        "text": {"color": COLORS["ink"], "fontSize": 11},
        "range": {"category": list(MEMBERS)},
    }


def finished(
    chart: Drawing, width: int | Literal["container"], height: int, description: str
) -> Drawing:
    """A chart with its size, its description for screen readers, and our settings.

    Args:
        chart: A chart or a layer of them.
        width: In pixels, or "container" to fill the page's column.
        height: In pixels.
        description: One sentence that says what is drawn.
    """
    done: Drawing = chart.properties(width=width, height=height, description=description).configure(
        **config()
    )
    return done


def specification(chart: Drawing) -> dict[str, Any]:
    """A chart as Vega-Lite's JSON, which the tests hold against Vega-Lite's schema.

    Holding every chart of every report against it would take a fourth of a report's time.
    """
    with debug_mode(False):
        return dict(chart.to_dict(validate=False))


def inline(table: pd.DataFrame) -> pd.DataFrame:
    """A table as chart data: six significant digits are more than a screen shows."""
    rounded = table.copy()
    for name in rounded.select_dtypes(["float64"]):
        values = rounded[name].to_numpy(float, copy=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            digits = 10.0 ** (5 - np.floor(np.log10(np.abs(values))))
        usable = np.isfinite(digits)
        values[usable] = np.round(values[usable] * digits[usable]) / digits[usable]
        rounded[name] = np.where(np.isfinite(values), values, np.nan)
    return rounded


def with_variables(spec: Any) -> Any:
    """A chart's JSON with each palette colour replaced by its CSS variable."""
    names = {color: f"var(--{name}, {color})" for name, color in COLORS.items()}
    if isinstance(spec, Mapping):
        return {key: with_variables(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [with_variables(value) for value in spec]
    return names.get(spec, spec) if isinstance(spec, str) else spec
