"""Chooses the display of a run."""

from __future__ import annotations

import os
import sys

from search.runs.display.lines import LineDisplay
from search.runs.display.quiet import QuietDisplay
from search.runs.display.terminal import TerminalDisplay

Shown = LineDisplay | QuietDisplay | TerminalDisplay


def display_for(*, quiet: bool = False) -> Shown:
    """Returns a live view if standard error is a terminal, otherwise a display of lines.

    Args:
        quiet: Whether to show nothing.
    """
    if quiet:
        return QuietDisplay()
    return TerminalDisplay() if _is_terminal() else LineDisplay()


def _is_terminal() -> bool:
    """Whether `sys.stderr` is the process's own, not replaced, and a terminal that can redraw lines."""
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False
    return own and os.isatty(2) and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
