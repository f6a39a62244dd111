"""Tables in plain text, for a terminal or a log: each column as wide as what stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

_SIDES: dict[str, Literal["left", "right"]] = {"<": "left", ">": "right"}


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, its head first, however wide the terminal is.

    Args:
        columns: Titles behind the side that a column is flush with: "<policy", ">return".
        rows: Cells; a row may end early.
    """
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column[1:], justify=_SIDES[column[0]], no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Cells are somebody's names: no markup, no emoji, and no colours for who reads a log.
    console = Console(width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]
