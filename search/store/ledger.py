"""Keeps line counts and digests of the record files in the manifest, so that lost records are noticed.

Record files only grow, so their earlier contents are the beginning of the present ones. A line count and
a digest of that beginning distinguish a file that was cut, changed or removed from one that has grown,
whether the search is still running, was killed, or has ended. An incomplete last line is never counted,
so it is no loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.store.folder import MANIFEST, RETRAIN, read_manifest, update_manifest

# Key of the seals in the manifest.
RECORDS = "records"
# Record files of the results folder and of its recipe check.
_NAMES = ("snapshots.jsonl", "evaluations.jsonl", "baselines.jsonl", "events.jsonl", "shifts.jsonl")
FILES = (*_NAMES, *(f"{RETRAIN}/{name}" for name in _NAMES))
# Seconds between updates while records are added: the loss of younger records goes unnoticed.
INTERVAL = 30.0


@dataclasses.dataclass(frozen=True)
class Seal:
    """The known beginning of a file.

    Attributes:
        lines: Number of whole lines.
        bytes: Total length of these lines.
        sha256: SHA-256 digest of these lines, in hexadecimal.
    """

    lines: int
    bytes: int
    sha256: str


class _Reading:
    """A growing file, of which all whole lines are read and digested."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = self._bytes = 0
        self._digest = hashlib.sha256()

    @property
    def seal(self) -> Seal:
        return Seal(self._lines, self._bytes, self._digest.hexdigest())

    def go_on(self, until: float = float("inf"), *, sync: bool = False) -> None:
        """Reads the lines that follow those already read.

        Args:
            until: Position in bytes from which no further line is read.
            sync: Whether to sync the file, so that the lines read are on disk on return.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._bytes)
            while self._bytes < until and (line := file.readline()).endswith(b"\n"):
                self._digest.update(line)
                self._lines += 1
                self._bytes += len(line)
            if sync:
                os.fsync(file.fileno())


class Ledger:
    """Updates the manifest's counts and digests while one process adds records.

    Each file is read once; later updates read only what was added.

    Args:
        folder: The results folder; without a manifest nothing is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readings: dict[str, _Reading | None] = {}
        self._looked = time.monotonic()

    def seal_now_and_then(self) -> None:
        """Calls `seal`, but not more often than every `INTERVAL` seconds."""
        if time.monotonic() - self._looked >= INTERVAL:
            self.seal()

    def seal(self) -> None:
        """Records the files' contents in the manifest; a file that has lost lines keeps its old entry.

        Raises:
            OSError: A file can't be read, or the manifest can't be written.
        """
        self._looked = time.monotonic()
        if not (self._folder / MANIFEST).is_file():
            return
        known = seals_of(read_manifest(self._folder))
        now = dict(known)
        for name in FILES:
            if name not in self._readings:
                self._readings[name] = _whole(self._folder / name, known.get(name))
            reading = self._readings[name]
            if reading is not None:
                # Synced, or a crash of the machine could lose lines that the manifest counts.
                reading.go_on(sync=True)
                if reading.seal.lines:
                    now[name] = reading.seal
        if now != known:
            told = {name: dataclasses.asdict(seal) for name, seal in now.items()}
            update_manifest(self._folder, **{RECORDS: told})


def seals_of(manifest: Mapping[str, Any]) -> dict[str, Seal]:
    """Returns the seals in a manifest by file name; empty if an earlier version wrote it."""
    told = manifest.get(RECORDS)
    kinds = {"lines": int, "bytes": int, "sha256": str}
    return {
        name: Seal(**{key: values[key] for key in kinds})
        for name, values in (told.items() if isinstance(told, dict) else ())
        if name in FILES
        and isinstance(values, dict)
        and all(isinstance(values.get(key), kind) for key, kind in kinds.items())
    }


def lost_records(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Describes what the record files have lost since they were sealed, one clause per file.

    Args:
        folder: The results folder.
        manifest: The manifest; read it before the record files, because the search may still run.
    """
    told = []
    for name, seal in seals_of(manifest).items():
        path = folder / name
        if _whole(path, seal) is not None:
            continue
        if not path.is_file():
            told.append(f"{name} is missing, and held {_lines(seal.lines)}")
            continue
        reading = _Reading(path)
        reading.go_on()
        left = reading.seal.lines
        told.append(
            f"{name} holds {left:,} of {_lines(seal.lines)}"
            if left < seal.lines
            else f"the first {_lines(seal.lines)} of {name} are not what was written"
        )
    return told


def refuse_loss(folder: Path) -> None:
    """Checks that records may be added to a results folder.

    Raises:
        ResultsError: Records were lost: new ones would hide the loss, and a search would lack the old.
    """
    if lost := lost_records(folder, read_manifest(folder)):
        raise ResultsError(
            f"{folder} is incomplete: {'; '.join(lost)}. Bring the whole file back, such as from a "
            f"backup. `prunefront report {folder}` reports what is left; to go on with no more than "
            f'that, remove "{RECORDS}" from {folder / MANIFEST}.'
        )


def _lines(count: int) -> str:
    return f"{count:,} line" if count == 1 else f"{count:,} lines"


def _whole(path: Path, seal: Seal | None) -> _Reading | None:
    """Returns the reading of a file up to its seal; None if the file no longer matches the seal."""
    reading = _Reading(path)
    if seal is not None:
        reading.go_on(seal.bytes)
    return reading if seal is None or reading.seal == seal else None
