"""Captures all output of this process to the terminal, so that it doesn't disturb a live view.

Ray's C++ code and libraries of environments write to the file descriptor and not to `sys.stderr`.
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
    """A redirection of standard output and error to a file, for each of them that is a terminal.

    Writers never wait for a reader. If the process dies before `close`, the file remains and contains
    its last output.

    Attributes:
        terminal: Stream that writes to the terminal itself.
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
        """Current numbers of columns and lines of the terminal."""
        found = os.get_terminal_size(self._saved[2])
        return (found.columns or 80, found.lines or 24)

    def take(self, *, rest: bool = False) -> list[str]:
        """Returns the complete lines that were written since the last call.

        Args:
            rest: Whether to include an incomplete last line.
        """
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        if rest and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def close(self) -> list[str]:
        """Ends the redirection and restores the terminal.

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
        # A closed stream has nothing to flush.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
