"""Plain policies against points of the front that are no smaller: who is better, by paired episodes."""

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
    """Each point of the front with every trained baseline that is no larger.

    Args:
        points: Rows of the front: "snapshot_id" and "nonzero_params".
        baselines: By name.
        figures: Episodes that give the figures, by policy.
        resampled: Resampled mean returns by policy, of shape (resamples,).
        kept: What baselines retain on selection episodes; NaN where that is unknown.

    Returns:
        A row a pair, columns `COLUMNS`. "difference" is the baseline's mean return minus the point's,
        with a 95 % interval: the bootstrap of the differences by seed where both played the same seeds
        ("paired"), else of both apart. Low and high are the difference itself where it is the same on
        every seed. "keeps_95": whether the baseline keeps 95 % of the dense policy, as selection
        episodes say.
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
    """The plain policy that whoever praises a point must name; None: there is none.

    The smallest that is better, as the interval shows; or else the smallest that keeps the same share of
    the dense policy; or else, of those that the interval doesn't show to be worse, the best.

    Args:
        rivals: As `rivals_of` gives them.
        point: The point's `snapshot_id`.
        level: What the point is praised for: "keeps_95" or "keeps_99"; "": not for what it keeps.

    Returns:
        Its row, with "how": "better", "keeps" or "even".
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
    """By baseline its row against the smallest point of the front that is no smaller.

    Args:
        rivals: As `rivals_of` gives them.
        points: The front's table.
    """
    sizes = dict(zip(points["snapshot_id"], points["nonzero_params"], strict=True))
    found: dict[str, dict[str, Any]] = {}
    for row in rivals.to_dict("records"):
        own = {**{str(k): v for k, v in row.items()}, "point_weights": sizes[row["snapshot_id"]]}
        before = found.get(str(row["baseline"]))
        if before is None or own["point_weights"] < before["point_weights"]:
            found[str(row["baseline"])] = own
    return found
