"""Folders are removed: renamed first, so that none is ever half gone.

A policy has dozens of files, and hundreds of them may go at once. While members train, whoever decides
for them can't wait for the disk: see `Trash`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rllib_ext.base.aside import ASIDE, OLD, PART, restore
from search.store.archive import Archive, Snapshot

FOLDERS = ("policies", "states")
TRASH = "removed"

Remove = Callable[[Path], object]


def remove(folder: Path) -> None:
    """Removes a folder; killed on the way, it leaves one whose name says that it is half."""
    if not folder.is_dir():
        return
    aside = folder.with_name(folder.name + PART)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


class Trash:
    """Removes folders beside the one who asks: they are out of the way at once, and gone a little later.

    Many often go together: removing the first while the others are taken would only be in their way.

    Args:
        folder: The results folder; what is to be removed lies in it.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / TRASH
        self._removing = ThreadPoolExecutor(1, thread_name_prefix=TRASH)
        self._taken: list[Path] = []

    def take(self, folder: Path) -> None:
        """As `remove`, but returns once the folder's name is free; it goes with the next `empty`.

        Raises:
            OSError: The folder can't be renamed; it is as it was.
        """
        if not folder.is_dir():
            return
        self._place.mkdir(exist_ok=True)
        # Of one name there may be several: a segment that is trained again makes its states anew.
        aside = self._place / f"{folder.name}-{uuid.uuid4().hex}"
        folder.rename(aside)
        self._taken.append(aside)

    def empty(self) -> None:
        """Begins to remove what was taken."""
        if self._taken:
            self._removing.submit(_remove_all, self._taken)
            self._taken = []

    def close(self) -> None:
        """Returns once all of it is gone; takes nothing any more."""
        self.empty()
        self._removing.shutdown()
        # There was nothing to remove, or a file system keeps what others have open: `tidy` finds it.
        with contextlib.suppress(OSError):
            self._place.rmdir()


def _remove_all(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def remove_policies(
    folder: Path,
    snapshots: Sequence[Snapshot],
    keep: Collection[str],
    remove: Remove = remove,
) -> list[Snapshot]:
    """Removes policies from disk.

    Args:
        folder: The results folder.
        snapshots: Whose policies may go.
        keep: `snapshot_id` of those that stay.
        remove: How a folder goes.

    Returns:
        The snapshots; `checkpoint` is "" where the policy has gone.
    """
    left: list[Snapshot] = []
    for snapshot in snapshots:
        if snapshot.checkpoint and snapshot.snapshot_id not in keep:
            remove(folder / snapshot.checkpoint)
            snapshot = dataclasses.replace(snapshot, checkpoint="")
        left.append(snapshot)
    return left


def tidy(archive: Archive) -> None:
    """Removes what a killed search left: half-written folders, and folders that no line names."""
    shutil.rmtree(archive.folder / TRASH, ignore_errors=True)
    snapshots = archive.snapshots()
    # Nobody goes on from what isn't usable.
    named = {
        "policies": {s.snapshot_id for s in snapshots},
        "states": {s.snapshot_id for s in snapshots if s.usable},
    }
    named["policies"] |= {
        Path(b.checkpoint).name for b in archive.baselines().values() if b.checkpoint
    }
    for kind in FOLDERS:
        for path in archive.folder.glob(f"{kind}/*{OLD}"):
            restore(path.with_suffix(""))
        for path in archive.folder.glob(f"{kind}/*"):
            if path.suffix == PART:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in named[kind]:
                remove(path)
    for path in [*archive.folder.glob(ASIDE), *archive.folder.glob(f"policies/*/{ASIDE}")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
