"""Tables in plain text for terminals and logs; each column is as wide as its contents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

_SIDES: dict[str, Literal["left", "right"]] = {"<": "left", ">": "right"}


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, header first, independent of the terminal's width.

    Args:
        columns: Titles, each after a sign for the column's alignment: "<policy", ">return".
        rows: Cells of each row; a row may have fewer cells than columns.
    """
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column[1:], justify=_SIDES[column[0]], no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Cells contain names given by users: no markup and no emoji. No colours either, for logs.
    console = Console(width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]
