"""Locks a results folder, so that only one process writes to it at a time."""

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
    """Holds the folder's lock; the operating system releases it even if the process is killed.

    On exit, the contents of the record files are sealed in the manifest (see `search.store.ledger`).

    Raises:
        ResultsError: Another process writes to the folder, or records of it were lost.
    """
    with _locked(folder):
        refuse_loss(folder)
        try:
            yield
        finally:
            # A full disk or a damaged manifest must not hide the error that ended the run.
            with contextlib.suppress(OSError, ResultsError):
                Ledger(folder).seal()


@contextlib.contextmanager
def only_writer_of_new(folder: Path) -> Iterator[None]:
    """Like `only_writer`, but creates a missing folder, for a new run that may be refused.

    Check the folder's contents inside the context: another run may have come first. A run that records
    nothing leaves the folder as it was if it was refused, or if it had not described itself yet.

    Raises:
        ResultsError: Another process writes to the folder, records of it were lost, or the folder can't
            be created.
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
    """Returns the folder's lock file, which stays locked until it is closed."""
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
        # A refused run removes its lock file, and another run may have created a new one since.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()
