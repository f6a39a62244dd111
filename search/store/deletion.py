"""Removes folders: each is renamed first, so that none is ever half deleted under its own name.

A policy has dozens of files, and hundreds of policies may be removed at once. While members train, the
process that coordinates them must not wait for the disk: see `Trash`.
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
    """Removes a folder; if interrupted, it leaves a folder with the suffix `PART` (see `tidy`)."""
    if not folder.is_dir():
        return
    aside = folder.with_name(folder.name + PART)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


class Trash:
    """Removes folders in a background thread: they are renamed at once and deleted a little later.

    Many folders are often removed together. Call `empty` once all of them have been taken: deleting the
    first ones earlier would slow down the renaming of the others.

    Args:
        folder: The results folder, which contains the folders to remove.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / TRASH
        self._removing = ThreadPoolExecutor(1, thread_name_prefix=TRASH)
        self._taken: list[Path] = []

    def take(self, folder: Path) -> None:
        """Renames a folder, so that its name is free; the next `empty` deletes it.

        Raises:
            OSError: The folder can't be renamed; it is unchanged.
        """
        if not folder.is_dir():
            return
        self._place.mkdir(exist_ok=True)
        # Several folders may have the same name: a segment that is trained again recreates its states.
        aside = self._place / f"{folder.name}-{uuid.uuid4().hex}"
        folder.rename(aside)
        self._taken.append(aside)

    def empty(self) -> None:
        """Begins to delete the folders taken so far."""
        if self._taken:
            self._removing.submit(_remove_all, self._taken)
            self._taken = []

    def close(self) -> None:
        """Deletes all folders taken and waits until they are gone; `take` can't be used afterwards."""
        self.empty()
        self._removing.shutdown()
        # Fails if nothing was taken, or if the file system keeps open files; `tidy` removes those later.
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
        snapshots: Snapshots whose policies may be removed.
        keep: `snapshot_id` of the policies to keep.
        remove: Function that removes a folder.

    Returns:
        The snapshots; `checkpoint` is empty where the policy was removed.
    """
    left: list[Snapshot] = []
    for snapshot in snapshots:
        if snapshot.checkpoint and snapshot.snapshot_id not in keep:
            remove(folder / snapshot.checkpoint)
            snapshot = dataclasses.replace(snapshot, checkpoint="")
        left.append(snapshot)
    return left


def tidy(archive: Archive) -> None:
    """Removes what a killed search left: half-written folders, and folders that no record names."""
    shutil.rmtree(archive.folder / TRASH, ignore_errors=True)
    snapshots = archive.snapshots()
    # Training never continues from a snapshot that isn't usable.
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
