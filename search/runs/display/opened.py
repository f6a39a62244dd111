"""Which display a run gets."""

from __future__ import annotations

import os
import sys

from search.runs.display.lines import LineDisplay
from search.runs.display.quiet import QuietDisplay
from search.runs.display.terminal import TerminalDisplay

Shown = LineDisplay | QuietDisplay | TerminalDisplay


def display_for(*, quiet: bool = False) -> Shown:
    """A live view where standard error is a terminal, lines where it is not.

    Args:
        quiet: Whether nothing is to be shown.
    """
    if quiet:
        return QuietDisplay()
    return TerminalDisplay() if _is_terminal() else LineDisplay()


def _is_terminal() -> bool:
    """Whether lines can be drawn again on the process's own standard error, and nobody replaced it."""
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False
    return own and os.isatty(2) and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
