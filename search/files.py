"""Files that are replaced: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# What a process that was killed leaves of `write_aside`.
ASIDE = ".*.part*"


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file beside its place, syncs it, then renames it.

    Args:
        path: Where the file shall be; replaced when it exists.
        write: Called with the path to write to. It keeps the suffix, from which writers tell the format.
    """
    # Others may be writing the same file: a report is made without the folder's lock.
    aside = path.with_name(f".{path.stem}.part{os.getpid()}{path.suffix}")
    try:
        write(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, aside and renamed."""
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))
