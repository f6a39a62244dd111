"""The generalisation table: policies down, shifts across."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_ext.envs.shift import UNSHIFTED
from search.front.format import marks, number, share, span
from search.front.results import Results

Row = dict[str, str]
NOTE = (
    "Mean return under each shift with its 95 % interval, then retained, measured under the same shift: "
    "0 is a random policy there, 1 the dense one there. “As trained” are the report's figures. Noise "
    "in std is in units of each observation component's standard deviation over the dense policy's "
    "episodes; action noise is the probability of a random action, or for continuous actions a standard "
    "deviation in halves of the range."
)


def generalisation_rows(results: Results) -> list[Row]:
    """One row a policy, one column a shift; no rows where nothing was shifted."""
    table = results.shifts
    if not len(table):
        return []
    front = results.confirmed.table.set_index("snapshot_id").to_dict("index")
    trained = {**results.baselines.set_index("name").to_dict("index"), **front}
    shifts = list(dict.fromkeys(table["shift"]))
    rows = table.to_dict("records")
    cells = {(row["policy"], row["shift"]): row for row in rows}
    weights = {row["policy"]: row["nonzero_params"] for row in rows}
    return [
        {
            "policy": policy,
            "picked as": marks(front[policy]) if policy in front else "baseline",
            "non-zero weights": number(count),
            "as trained": _cell(trained.get(policy)),
            **{_title(shift): _cell(cells.get((policy, shift))) for shift in shifts},
        }
        for policy, count in weights.items()
    ]


def _title(shift: str) -> str:
    return "fresh episodes, no shift" if shift == UNSHIFTED else shift


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "–"
    interval = span(row["return_ci_low"], row["return_ci_high"])
    text = number(row["return_mean"]) + (f" ({interval})" if interval else "")
    return f"{text}, {share(row['retained'])}"
