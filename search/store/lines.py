"""Append-only files with one JSON object per line.

Only the last line can be incomplete, after a crash or on a full disk. It is ignored on reading and cut
off before more is written, because later lines would otherwise be unreadable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, sync: bool = True) -> None:
    """Appends records; an incomplete last line is cut off first.

    Args:
        path: Path of the file; created if missing.
        records: Plain JSON values; NaN and infinities are written as in Python's JSON extension.
        sync: Whether to sync the file; otherwise the records reach the disk with the next sync.

    Raises:
        OSError: The lines can't be written, or only in part.
    """
    text = "".join(json.dumps(values, separators=(",", ":")) + "\n" for values in records)
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(text.encode())
        if sync:
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a file; a missing file has none, and an incomplete last line is ignored.

    Raises:
        ResultsError: A line other than the last is not a JSON object.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                values = json.loads(line)
            except ValueError as error:
                raise _broken(path, number, f"is not JSON ({error})") from error
            if not isinstance(values, dict):
                raise _broken(path, number, "holds no JSON object")
            yield values


def _broken(path: Path, number: int, what: str) -> ResultsError:
    return ResultsError(
        f"{path}: line {number} {what}. The file was changed by something else; remove the line to go "
        "on with the others."
    )
