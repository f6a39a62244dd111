"""Files of one JSON object a line, which only grow.

Each line is whole or the last: what a crash or a full disk has torn is ignored when reading, and cut off
before more is written, for behind it nothing could be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, sync: bool = True) -> None:
    """Appends records; a torn last line is cut off first.

    Args:
        path: The file; made when missing.
        records: Must be plain JSON; NaN and infinities are kept as JSON's extensions.
        sync: Whether they are on disk on return; otherwise they are with the next that are.

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
    """Yields the whole records of a file; a missing file has none, a torn last line is ignored.

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
