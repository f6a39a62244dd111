"""Before any policy is re-evaluated: the front of the search's own scores, labelled as what it is."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from search.front.format import number, recipe
from search.front.pareto import nondominated
from search.front.results import Results
from search.report.charts.theme import inline
from search.store.archive import Snapshot

SERIES = "search front, not re-evaluated: optimistic"
CAPTION = (
    "Provisional: these are the search's own scores, each from a few episodes, and the best of many "
    "such scores are mostly the luckiest. Not re-evaluated: optimistic. The front comes from fresh "
    "episodes, once the search is finished."
)


def search_front(results: Results) -> list[Snapshot]:
    """The non-dominated search scores of feasible snapshots, the densest first."""
    able = [s for s in results.records if s.usable and s.status == "ok"]
    points = np.array([(s.return_mean, s.sparsity) for s in able]).reshape(-1, 2)
    found = [s for s, on in zip(able, nondominated(points), strict=True) if on]
    return sorted(found, key=lambda s: (s.sparsity, s.snapshot_id))


def is_provisional(results: Results) -> bool:
    """Whether there are only search scores to show."""
    return not results.has_front and bool(search_front(results))


def provisional_layers(results: Results, x: alt.X, color: alt.Color) -> list[Any]:
    """A dashed line through the search front, with hollow points that hover.

    Args:
        results: A search that `is_provisional`.
        x: Over `sparsity` or `weights`.
        color: By `series`.
    """
    table = pd.DataFrame(
        [
            {
                "snapshot_id": s.snapshot_id,
                "search_return": s.return_mean,
                "score": f"{number(s.return_mean)} over {s.episodes} episodes",
                "sparsity": s.sparsity,
                "weights": max(1, s.nonzero_params),
                "parent": s.parent or "none",
                "hyperparameters": recipe(s.hyperparameters),
                "series": SERIES,
            }
            for s in search_front(results)
        ]
    )
    base = alt.Chart(inline(table)).encode(x=x, y=alt.Y("search_return:Q"), color=color)
    return [
        base.mark_line(strokeWidth=1.5, strokeDash=[5, 4], aria=False).encode(
            order=alt.Order("sparsity:Q")
        ),
        base.mark_point(size=60, strokeWidth=2, filled=False, opacity=1).encode(
            tooltip=[
                alt.Tooltip("snapshot_id:N", title="snapshot"),
                alt.Tooltip("score:N", title="search score (optimistic)"),
                alt.Tooltip("sparsity:Q", format=".2%"),
                alt.Tooltip("weights:Q", title="non-zero weights", format=","),
                alt.Tooltip("parent:N", title="started from"),
                alt.Tooltip("hyperparameters:N"),
            ]
        ),
    ]
