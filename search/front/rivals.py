"""Compares front points with plain policies (trained baselines) that are no larger, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.front.intervals import Floats, interval
from search.store.archive import Baseline, Evaluation

COLUMNS = (
    "snapshot_id",
    "baseline",
    "kind",
    "weights",
    "unit",
    "difference",
    "difference_low",
    "difference_high",
    "paired",
    "keeps_95",
    "keeps_99",
)


def rivals_of(
    points: Sequence[Mapping[Any, Any]],
    baselines: Mapping[str, Baseline],
    figures: Mapping[str, Evaluation],
    resampled: Mapping[str, Floats],
    kept: Mapping[str, float],
) -> pd.DataFrame:
    """Compares each point of the front with every trained baseline that is no larger.

    Args:
        points: Rows of the front, with "snapshot_id" and "nonzero_params".
        baselines: Baselines by name.
        figures: Episodes that give the figures, by policy.
        resampled: Resampled mean returns by policy, each of shape (resamples,).
        kept: Retained share of each policy on selection episodes, by name; NaN if unknown.

    Returns:
        One row per pair, columns `COLUMNS`. "difference" is the baseline's mean return minus the
        point's, with a 95 % bootstrap interval: of the differences by seed if both played the same seeds
        ("paired"), otherwise of both separately. If the difference is the same on every seed, low and
        high equal it. "keeps_95" says whether the baseline keeps 95 % of the dense policy's return on
        selection episodes.
    """
    rows = []
    for point in points:
        for name, baseline in baselines.items():
            own = str(point["snapshot_id"])
            if not baseline.kind or not 0 < baseline.nonzero_params <= point["nonzero_params"]:
                continue
            if name not in figures or own not in figures:
                continue
            difference, low, high, paired = _difference(name, own, figures, resampled)
            rows.append(
                {
                    "snapshot_id": own,
                    "baseline": name,
                    "kind": baseline.kind,
                    "weights": baseline.nonzero_params,
                    "unit": baseline.unit,
                    "difference": difference,
                    "difference_low": low,
                    "difference_high": high,
                    "paired": paired,
                    "keeps_95": kept.get(name, math.nan) >= 0.95,
                    "keeps_99": kept.get(name, math.nan) >= 0.99,
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _difference(
    name: str, point: str, figures: Mapping[str, Evaluation], resampled: Mapping[str, Floats]
) -> tuple[float, float, float, bool]:
    ours, theirs = figures[point], figures[name]
    means = resampled[name] - resampled[point]
    difference = float(np.mean(theirs.returns) - np.mean(ours.returns))
    if ours.seeds != theirs.seeds:
        low, high = np.quantile(means, [0.025, 0.975])
        return difference, float(low), float(high), False
    by_seed = np.asarray(theirs.returns) - np.asarray(ours.returns)
    low, high = interval(by_seed, means)
    if math.isnan(low):
        low = high = difference
    return difference, low, high, True


def named_rival(rivals: pd.DataFrame, point: str, level: str = "") -> dict[str, Any] | None:
    """Returns the plain policy that must be mentioned when a front point is recommended.

    This is the smallest one whose interval shows that it is better; otherwise the smallest one that
    keeps the same share of the dense policy's return; otherwise the best of those whose interval doesn't
    show that they are worse.

    Args:
        rivals: Pairs of points and plain policies, as returned by `rivals_of`.
        point: `snapshot_id` of the point.
        level: Share that the point is recommended for, "keeps_95" or "keeps_99"; empty for none.

    Returns:
        Its row, with the entry "how": "better", "keeps" or "even". None if there is no such policy.
    """
    own = rivals[rivals["snapshot_id"] == point]
    keeps = own[level].astype(bool) if level else np.zeros(len(own), dtype=bool)
    ways = {
        "better": own[own["difference_low"] > 0].sort_values(["weights", "baseline"]),
        "keeps": own[keeps].sort_values(["weights", "baseline"]),
        "even": own[own["difference_high"] >= 0].sort_values("difference", ascending=False),
    }
    for how, found in ways.items():
        if len(found):
            return {**{str(k): v for k, v in found.iloc[0].items()}, "how": how}
    return None


def nearest_points(rivals: pd.DataFrame, points: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns each baseline's row against the smallest front point that is no smaller, by baseline.

    Args:
        rivals: Pairs of points and plain policies, as returned by `rivals_of`.
        points: Table of the front.
    """
    sizes = dict(zip(points["snapshot_id"], points["nonzero_params"], strict=True))
    found: dict[str, dict[str, Any]] = {}
    for row in rivals.to_dict("records"):
        own = {**{str(k): v for k, v in row.items()}, "point_weights": sizes[row["snapshot_id"]]}
        before = found.get(str(row["baseline"]))
        if before is None or own["point_weights"] < before["point_weights"]:
            found[str(row["baseline"])] = own
    return found
