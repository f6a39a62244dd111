"""Who may write to a results folder: one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from rllib_ext.pruning.errors import ResultsError
from search.folder import LOCK
from search.ledger import Ledger, refuse_loss


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system frees it even when the process is killed.

    On the way out what the files of records hold is noted.

    Raises:
        ResultsError: Another process writes to the folder, or records of it were lost.
    """
    with _held(folder):
        refuse_loss(folder)
        try:
            yield
        finally:
            # A full disk or a damaged manifest must not hide what ended the run.
            with contextlib.suppress(OSError, ResultsError):
                Ledger(folder).seal()


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResultsError(
                f"{folder} is being written by another process. Wait for it to end, or name another "
                "folder."
            ) from error
        yield
