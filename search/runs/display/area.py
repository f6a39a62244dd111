"""The lowest lines of a terminal, drawn again and again below all else that is written."""

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
    """Lines at the bottom of a terminal.

    One thread draws. Between two drawings the cursor stands below the last line, so that what somebody
    else writes all the same, such as the terminal's ^C, is erased with the next one.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._widths: list[int] = []
        self._columns = 0

    def draw(self, lines: Sequence[str], columns: int, above: Sequence[str] = ()) -> None:
        """Draws the lines in place of those before.

        Args:
            lines: With or without escapes of colour, none longer than the terminal is wide.
            columns: How wide the terminal is now.
            above: What is written above them, and stays.
        """
        rows = self._rows(columns)
        up = _UP.format(rows) if rows else ""
        # A terminal that became narrower has wrapped what was drawn: line by line nothing would fit.
        clear = _ERASE_BELOW if above or columns != self._columns else ""
        kept = "".join(f"{line}{_ERASE_LINE}\n" for line in above)
        drawn = "".join(f"{line}{_ERASE_LINE}\n" for line in lines)
        self._stream.write(f"{_HIDE}\r{up}{clear}{kept}{drawn}{_ERASE_BELOW}{_SHOW}")
        self._stream.flush()
        self._widths = [cell_len(_ESCAPES.sub("", line)) for line in lines]
        self._columns = columns

    def _rows(self, columns: int) -> int:
        """Lines of the terminal that the last drawing takes now."""
        return sum(max(1, math.ceil(width / max(1, columns))) for width in self._widths)
