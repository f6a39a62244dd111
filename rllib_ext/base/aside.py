"""Files and folders that are replaced: written beside their place, then renamed.

At whatever moment the process is killed, the old or the new one is there and whole. A file takes the
place of another at once. A folder can't: the old one steps aside under the suffix `OLD`, and where the
process is killed before the new one has its name, `restore` gives it back. What has the suffix `PART`
may go at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

PART, OLD = ".part", ".old"
# What a process that was killed leaves of `write_aside`.
ASIDE = ".*.part*"


def write_aside(path: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Lets `write` make a file beside its place, then renames it.

    Args:
        path: Path of the file; replaced if it exists.
        write: Called with the path to write to. It keeps the suffix, from which writers tell the format.
        sync: Whether the file is on disk before it is renamed, and so survives a crash of the machine.
    """
    # Others may be writing the same file: a report is made without the folder's lock.
    aside = path.with_name(f".{path.stem}.part{os.getpid()}{path.suffix}")
    try:
        write(aside)
        if sync:
            with aside.open("rb") as file:
                os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside one, which it replaces in the end, unless something failed."""
    aside = folder.with_name(folder.name + PART)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    take_place(aside, folder)


def take_place(new: Path, folder: Path) -> None:
    """Renames a whole folder to a name that another one may have, which goes.

    Args:
        new: The new one, on the same file system.
        folder: The name.
    """
    restore(folder)
    old = folder.with_name(folder.name + OLD)
    if folder.is_dir():
        folder.rename(old)
    new.rename(folder)
    _remove_old(old)


def restore(folder: Path) -> None:
    """Puts right what a crash left of a folder that was being replaced."""
    old = folder.with_name(folder.name + OLD)
    if not old.is_dir():
        return
    if folder.exists():
        _remove_old(old)
    else:
        old.rename(folder)


def _remove_old(old: Path) -> None:
    """Renamed first: what is called old is whole, or `restore` would give back a half of it."""
    if not old.is_dir():
        return
    aside = old.with_suffix(PART)
    shutil.rmtree(aside, ignore_errors=True)
    old.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
