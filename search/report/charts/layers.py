"""Chart of the layers in which the front's policies keep their weights."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from search.front.format import percent
from search.front.results import Results
from search.report.charts.theme import Drawing, finished, inline


def layers_chart(results: Results, width: int | Literal["container"] = 640) -> Drawing:
    """Sparsity of each layer of each front point; colour by density on a logarithmic scale.

    Args:
        results: The search.
        width: In pixels, or "container".
    """
    cells = layer_cells(results)
    policies = list(dict.fromkeys(cells["policy"]))
    layers = list(dict.fromkeys(cells["short"]))
    base = alt.Chart(inline(cells)).encode(
        x=alt.X(
            "policy:N",
            sort=policies,
            title="front policies, by non-zero weights",
            axis=alt.Axis(labelAngle=0, labelOverlap=True),
        ),
        y=alt.Y("short:N", sort=layers, title=None, axis=alt.Axis(labelLimit=160)),
    )
    lowest = min(0.1, float(cells["density"].min()))
    hover = [
        alt.Tooltip("snapshot_id:N", title="policy"),
        alt.Tooltip("layer:N"),
        alt.Tooltip("sparsity:Q", format=".2%"),
    ]
    tiles = base.mark_rect(stroke="white", strokeWidth=1, strokeOpacity=0.35).encode(
        color=alt.Color(
            "density:Q",
            scale=alt.Scale(type="log", scheme="blues", domain=[lowest, 1]),
            legend=alt.Legend(
                title="density, logarithmic", format=".2~%", orient="top", gradientLength=180
            ),
        ),
        tooltip=hover,
    )
    shown = [tiles]
    if len(policies) <= 12:
        text = base.mark_text(fontSize=10, aria=False).encode(
            text="label:N",
            # The text lies over its tile, and would hide it from the pointer.
            tooltip=hover,
            color=alt.condition(
                f"datum.density > {lowest**0.5:.6g}", alt.value("white"), alt.value("black")
            ),
        )
        shown.append(text)
    return finished(
        alt.layer(*shown),
        width,
        max(80, 38 * len(layers)),
        f"Sparsity of {len(layers)} layers for {len(policies)} front policies, the densest first.",
    )


def layer_cells(results: Results) -> pd.DataFrame:
    """One row a front point and layer; empty where the archive holds no layers."""
    by_id = {s.snapshot_id: s for s in results.records}
    rows = []
    names: dict[str, int] = {}
    for name in results.confirmed.table["snapshot_id"]:
        snapshot = by_id[name]
        label = f"{snapshot.nonzero_params:,}"
        names[label] = names.get(label, 0) + 1
        label += "′" * (names[label] - 1)
        for layer, sparsity in snapshot.layers.items():
            rows.append(
                {
                    "snapshot_id": name,
                    "policy": label,
                    "layer": layer,
                    "short": layer.removesuffix(".weight").replace(".net.mlp.", "."),
                    "sparsity": sparsity,
                    "density": max(1 - sparsity, 1e-4),
                    "label": percent(sparsity).replace(" %", ""),
                }
            )
    columns = ["snapshot_id", "policy", "layer", "short", "sparsity", "density", "label"]
    return pd.DataFrame(rows, columns=columns)
