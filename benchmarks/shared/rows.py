"""A benchmark's CSV of runs, to which rows are appended; a run that has a row is not repeated."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def rows_done(path: Path, names: Sequence[str]) -> set[tuple[Any, ...]]:
    """Returns, for each row, the values that identify its run; empty if there is no file yet.

    Args:
        path: The CSV.
        names: Columns that identify a run.
    """
    if not path.is_file():
        return set()
    table = pd.read_csv(path)
    return set(zip(*(table[name] for name in names), strict=True))


def append_row(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Appends a row; creates the file with its header if it doesn't exist."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)
