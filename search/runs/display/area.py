"""Draws and redraws the lowest lines of a terminal, below all other output."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_UP, _ERASE_LINE, _ERASE_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Area:
    """The lines at the bottom of a terminal.

    Only one thread may draw. Between two drawings the cursor is below the last line, so that other
    output that reaches the terminal, such as its ^C, is erased by the next drawing.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._widths: list[int] = []
        self._columns = 0

    def draw(self, lines: Sequence[str], columns: int, above: Sequence[str] = ()) -> None:
        """Replaces the previous drawing by new lines.

        Args:
            lines: Lines, possibly with escape sequences for colours; none wider than the terminal.
            columns: Current width of the terminal.
            above: Lines to write permanently above the drawing.
        """
        rows = self._rows(columns)
        up = _UP.format(rows) if rows else ""
        # A narrower terminal has wrapped the old drawing, so erasing it line by line wouldn't fit.
        clear = _ERASE_BELOW if above or columns != self._columns else ""
        kept = "".join(f"{line}{_ERASE_LINE}\n" for line in above)
        drawn = "".join(f"{line}{_ERASE_LINE}\n" for line in lines)
        self._stream.write(f"{_HIDE}\r{up}{clear}{kept}{drawn}{_ERASE_BELOW}{_SHOW}")
        self._stream.flush()
        self._widths = [cell_len(_ESCAPES.sub("", line)) for line in lines]
        self._columns = columns

    def _rows(self, columns: int) -> int:
        """Returns the number of terminal lines that the last drawing occupies at the current width."""
        return sum(max(1, math.ceil(width / max(1, columns))) for width in self._widths)
