"""A benchmark's CSV of runs, to which rows are appended; a run that has a row is not repeated."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def rows_done(path: Path, names: Sequence[str]) -> set[tuple[Any, ...]]:
    """Returns, for each row, the values that identify its run; empty if there is no file yet.

    Args:
        path: The CSV.
        names: Columns that identify a run.

    Raises:
        SystemExit: The file lacks one of these columns.
    """
    if not path.is_file():
        return set()
    table = _read(path, names)
    return set(zip(*(table[name] for name in names), strict=True))


def rows_of(
    path: Path, asked: Mapping[str, Sequence[Any]], settings: Callable[[pd.Series], str]
) -> pd.DataFrame:
    """Returns the rows that are asked for, of today's settings; prints how many are of others.

    Args:
        path: The CSV.
        asked: Values by the columns that must have one of them.
        settings: Returns what a row's "settings" would be today.

    Raises:
        SystemExit: The file lacks one of these columns, or "settings".
    """
    table = _read(path, [*asked, "settings"])
    for column, values in asked.items():
        table = table[table[column].isin(values)]
    current = np.array(
        [row["settings"] == settings(row) for _, row in table.iterrows()], dtype=bool
    )
    if not current.all():
        print(
            f"{(~current).sum()} of {len(table)} rows left out: their searches had other settings"
        )
    return table[current]


def append_row(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Appends a row; creates the file with its header if it doesn't exist."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    table = pd.read_csv(path)
    if missing := [name for name in needed if name not in table]:
        raise SystemExit(
            f"{path} has no column {', '.join(missing)}: its rows are of an earlier version of this "
            "benchmark. Give another folder to --output, or move the file away"
        )
    return table
