"""Converts the archive to tables and writes tables to files.

CSV is for people and spreadsheets, Parquet for programs. Every file is written under a temporary name
and renamed, so that a reader never sees an incomplete file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.store.archive import Evaluation, Snapshot
from search.store.files import write_aside, write_text

SNAPSHOT_COLUMNS = (
    "snapshot_id",
    "trial_number",
    "member",
    "segment",
    "iteration",
    "env_steps",
    "wall_time",
    "status",
    "return_mean",
    "return_std",
    "episodes",
    "sparsity",
    "critic_sparsity",
    "nonzero_params",
    "total_params",
    "parent",
    "checkpoint",
)
EPISODE_COLUMNS = ("snapshot_id", "purpose", "seed", "return", "length")
LAYER_COLUMNS = ("snapshot_id", "layer", "sparsity")


def snapshots_table(snapshots: Sequence[Snapshot]) -> pd.DataFrame:
    """Returns one row per snapshot: `SNAPSHOT_COLUMNS`, then `hp.…` and `obj.…`; empty if not active."""
    columns: dict[str, list[Any]] = {
        name: [getattr(s, name) for s in snapshots] for name in SNAPSHOT_COLUMNS
    }
    columns |= _spread_out("hp.", [s.hyperparameters for s in snapshots])
    columns |= _spread_out("obj.", [s.objectives for s in snapshots])
    return pd.DataFrame(columns)


def episodes_table(
    snapshots: Sequence[Snapshot], evaluations: Sequence[Evaluation]
) -> pd.DataFrame:
    """Returns one row per evaluated episode; the purpose of snapshots' own episodes is "search"."""
    sources = [
        *((s.snapshot_id, "search", s.seeds, s.returns, s.lengths) for s in snapshots),
        *((e.snapshot_id, e.purpose, e.seeds, e.returns, e.lengths) for e in evaluations),
    ]
    counts = [len(source[3]) for source in sources]
    return pd.DataFrame(
        {
            "snapshot_id": np.repeat(np.array([s[0] for s in sources], dtype=object), counts),
            "purpose": np.repeat(np.array([s[1] for s in sources], dtype=object), counts),
            "seed": np.array([x for s in sources for x in s[2]], dtype=np.int64),
            "return": np.array([x for s in sources for x in s[3]], dtype=np.float64),
            "length": np.array([x for s in sources for x in s[4]], dtype=np.int64),
        },
        columns=list(EPISODE_COLUMNS),
    )


def layers_table(snapshots: Iterable[Snapshot]) -> pd.DataFrame:
    """Returns one row per snapshot and layer, with the layer's sparsity."""
    rows = [(s.snapshot_id, name, value) for s in snapshots for name, value in s.layers.items()]
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def env_steps_done(snapshots: Sequence[Snapshot]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns the training env steps of all members when each snapshot was made, in archive order.

    A snapshot's own clock counts the env steps of its lineage. The steps added since the previous
    snapshot of the segment, or since the parent, are summed over all snapshots.
    """
    clock = {"": 0}
    latest: dict[tuple[int, int], int] = {}
    added = np.zeros(len(snapshots), dtype=np.int64)
    for i, s in enumerate(snapshots):
        segment = (s.member, s.segment)
        before = latest.get(segment, clock.get(s.parent, 0))
        added[i] = max(0, s.env_steps - before)
        latest[segment] = clock[s.snapshot_id] = s.env_steps
    return np.cumsum(added)


def csv_text(table: pd.DataFrame) -> str:
    """Returns a table as CSV; values that weren't measured are empty cells."""
    return str(table.to_csv(index=False, lineterminator="\n"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as CSV."""
    write_text(path, csv_text(table))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as Parquet; columns with mixed types become text."""
    plain = table.copy()
    for name in plain.columns:
        if pd.api.types.is_object_dtype(plain[name]):
            plain[name] = _one_kind(plain[name])
    write_aside(path, lambda aside: plain.to_parquet(aside, index=False))


def _one_kind(column: pd.Series[Any]) -> pd.Series[Any]:
    kinds = set(column.dropna().map(type))
    if kinds == {bool}:
        return column.astype("boolean")
    if kinds <= {int, float, bool}:
        return column.astype("float64")
    return column.map(lambda value: None if pd.isna(value) else str(value)).astype("string")


def _spread_out(prefix: str, values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = sorted({name for row in values for name in row})
    return {prefix + name: [row.get(name) for row in values] for name in names}
