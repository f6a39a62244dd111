"""What anybody writes to the terminal of this process, kept apart so that it doesn't spoil a live view.

Ray's C++ writes to the file descriptor and not to `sys.stderr`, and so do libraries of environments.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TextIO

_STANDARD = (1, 2)


class Captured:
    """Standard output and error go to a file, where they are a terminal.

    Nobody who writes has to wait for whoever reads. The file stays where the process dies before
    `close`: what it said last is in there.

    Attributes:
        terminal: Writes to the terminal itself.
    """

    def __init__(self) -> None:
        _flush()
        number, name = tempfile.mkstemp(prefix="prunefront-messages-", suffix=".log")
        self._path = Path(name)
        self._saved = {fd: os.dup(fd) for fd in _STANDARD if os.isatty(fd)}
        for fd in self._saved:
            os.dup2(number, fd)
        os.close(number)
        self._reader = self._path.open("rb")
        self._rest = b""
        self.terminal: TextIO = os.fdopen(
            os.dup(self._saved[2]), "w", encoding="utf-8", errors="replace"
        )

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal, now."""
        found = os.get_terminal_size(self._saved[2])
        return (found.columns or 80, found.lines or 24)

    def take(self, *, rest: bool = False) -> list[str]:
        """Whole lines that were written since the last call.

        Args:
            rest: Whether one that has not ended is taken too.
        """
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        if rest and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def close(self) -> list[str]:
        """Gives the terminal back.

        Returns:
            Lines that were written since the last `take`.
        """
        _flush()
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
        lines = self.take(rest=True)
        self._reader.close()
        for saved in self._saved.values():
            os.close(saved)
        self._path.unlink(missing_ok=True)
        return lines


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Whoever closed it has nothing to lose.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
