"""Who may write to a results folder: one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rllib_ext.pruning.errors import CheckpointError, ConfigError, ResultsError
from search.store.folder import LOCK, remove_unbegun
from search.store.ledger import Ledger, refuse_loss


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system frees it even when the process is killed.

    On the way out what the files of records hold is noted.

    Raises:
        ResultsError: Another process writes to the folder, or records of it were lost.
    """
    with _locked(folder):
        refuse_loss(folder)
        try:
            yield
        finally:
            # A full disk or a damaged manifest must not hide what ended the run.
            with contextlib.suppress(OSError, ResultsError):
                Ledger(folder).seal()


@contextlib.contextmanager
def only_writer_of_new(folder: Path) -> Iterator[None]:
    """As `only_writer`, of a folder that is made when missing, for a run that may be refused.

    What is in the folder is to be looked at within: another run may have come first. A run that ends
    before it has recorded anything leaves the folder as it found it where it was refused, and where it
    had not described itself.

    Raises:
        ResultsError: Another process writes to the folder, or the folder can't be made.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be made: {error}") from error
    with only_writer(folder):
        try:
            yield
        except (CheckpointError, ConfigError, ResultsError):
            remove_unbegun(folder, refused=True, made=made)
            raise
        except BaseException:
            remove_unbegun(folder, refused=False, made=made)
            raise


def _locked(folder: Path) -> IO[str]:
    """The folder's lock file, locked until it is closed."""
    path = folder / LOCK
    while True:
        try:
            lock = path.open("w")
        except FileNotFoundError as error:
            raise ResultsError(
                f"{folder} was removed by another process while this one began. Try again."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ResultsError(
                    f"{folder} can't be locked ({error}), and two processes could write to it at once. "
                    "Expected a file system with locks: a local one, NFS 4, or Lustre mounted with "
                    "`flock`; mounted buckets often have none."
                ) from error
            raise ResultsError(
                f"{folder} is being written by another process. Wait for it to end, or name another "
                "folder."
            ) from error
        # A refused run removes its lock, and others may have made one of the same name since.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()
