"""Tabulates the segments of a search: their hyperparameters, starting points and gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from search.front.pareto import log_density
from search.store.archive import Hyperparameter, Snapshot

Floats = NDArray[np.float64]

# Names of the gains, by column of `segment_gains`.
GAINS = {"gain_return": "return", "gain_decades": "decades of density"}
COVARIATES = ("progress", "start_return", "start_decades")


def scales(config: str) -> dict[str, str]:
    """Returns the scale on which each hyperparameter was searched, from the text of `config.yaml`.

    Returns:
        "linear", "log", "log_density" or "choice", by path; empty if the text contains no search space.
    """
    try:
        values = yaml.safe_load(config)
    except yaml.YAMLError:
        return {}
    search = values.get("search") if isinstance(values, dict) else None
    space = search.get("space") if isinstance(search, dict) else None
    found = {}
    for path, entry in space.items() if isinstance(space, dict) else ():
        if isinstance(entry, dict):
            kind = "log" if entry.get("log") else str(entry.get("scale", "linear"))
            found[str(path)] = "choice" if entry.get("type") == "choice" else kind
    return found


def pruning_of(config: str) -> dict[str, Any]:
    """Returns the fixed pruning settings of all members, by path, from the text of `config.yaml`."""
    try:
        values = yaml.safe_load(config)
    except yaml.YAMLError:
        return {}
    pruning = values.get("pruning") if isinstance(values, dict) else None
    return {f"pruning.{k}": v for k, v in pruning.items()} if isinstance(pruning, dict) else {}


def is_number(values: Sequence[Any]) -> bool:
    """Whether a hyperparameter is numeric: every value is a number and none is a boolean."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def warped(values: Sequence[Any], scale: str) -> Floats:
    """Returns numbers on their search scale; they stay linear if a logarithm is undefined."""
    x = np.asarray(values, dtype=np.float64)
    if scale == "log" and (x > 0).all():
        return np.asarray(np.log10(x))
    if scale == "log_density" and (x < 1).all():
        return np.asarray(-np.log10(1 - x))
    return x


def segment_gains(
    records: Sequence[Snapshot], random_return: float
) -> tuple[pd.DataFrame, list[dict[str, Hyperparameter]]]:
    """Returns the gains and the hyperparameters of each segment.

    A segment starts at the return and sparsity of its parent or, for a birth, at the random policy's
    return and sparsity 0; it ends at its last usable snapshot. Segments whose start is unknown are left
    out.

    Args:
        records: Snapshots in the order they were made.
        random_return: Mean return of the random policy; NaN if unknown.

    Returns:
        Table with one row per segment: `member, segment, snapshot_id, progress` in [0, 1],
        `start_return, start_decades, gain_return, gain_decades`; and the hyperparameters of each row.
    """
    by_id = {s.snapshot_id: s for s in records}
    longest = max(1, *(s.env_steps for s in records))
    ends = {(s.member, s.segment): s for s in records if s.usable}
    rows, recipes = [], []
    for (member, segment), end in ends.items():
        start = by_id.get(end.parent)
        if start is None and end.parent:
            continue
        start_return = start.return_mean if start else random_return
        sparsities = [start.sparsity if start else 0.0, end.sparsity]
        before, after = log_density(sparsities, end.total_params)
        if not np.isfinite(start_return):
            continue
        rows.append(
            {
                "member": member,
                "segment": segment,
                "snapshot_id": end.snapshot_id,
                "progress": (start.env_steps if start else 0) / longest,
                "start_return": start_return,
                "start_decades": before,
                "gain_return": end.return_mean - start_return,
                "gain_decades": after - before,
            }
        )
        recipes.append(end.hyperparameters)
    columns = ["member", "segment", "snapshot_id", *COVARIATES, *GAINS]
    return pd.DataFrame(rows, columns=columns), recipes
