"""Connects a run to Ray, times it, and records in the manifest how it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search.cluster.connection import connect, disconnect
from search.cluster.shared_folder import refuse_unseen
from search.cluster.waiting import Say
from search.store.folder import FINISHED, read_manifest, update_manifest
from search.store.lines import read_lines

# Returns manifest entries for a run's status and its duration in seconds.
Ended = Callable[[str, float], dict[str, Any]]


def starting_ray(address: str | None) -> str:
    """Returns the message that is shown while Ray is started or connected to.

    Args:
        address: Address of a Ray cluster; None to start one on this machine.
    """
    if address is None:
        return "starting Ray on this machine"
    return f"connecting to the Ray cluster at {address}"


@contextlib.contextmanager
def session(
    folder: Path, address: str | None, note: Say, ended: Ended | None = None
) -> Iterator[None]:
    """Connects to a cluster that sees the results folder while the block runs, and records the end.

    Args:
        folder: The results folder.
        address: Address of a Ray cluster; None to start one on this machine.
        note: Callback for messages about what is being waited for.
        ended: Function that returns the manifest's entries about the end, as for `recorded`.

    Raises:
        ConfigError: There is no cluster, it refuses connections, or a node doesn't see the folder.
    """
    try:
        with recorded(folder, ended):
            connect(address, note)
            refuse_unseen(folder)
            yield
    finally:
        disconnect()


@contextlib.contextmanager
def recorded(folder: Path, ended: Ended | None = None) -> Iterator[None]:
    """Records in the manifest how the block ended: "finished", "interrupted" or "failed".

    Args:
        folder: The results folder.
        ended: Function that returns the manifest's entries; None for "status", and "wall_time" including
            that of earlier processes.
    """
    earlier = _earlier_seconds(folder)
    told = ended or (lambda status, seconds: {"status": status, "wall_time": earlier + seconds})
    started, status = time.monotonic(), "failed"
    try:
        yield
        status = FINISHED
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        # On a full disk, this write must not hide the error that ended the run.
        with contextlib.suppress(OSError):
            update_manifest(folder, **told(status, time.monotonic() - started))


def _earlier_seconds(folder: Path) -> float:
    """Returns the seconds that earlier processes took; for a killed one, until its last snapshot."""
    told = float(read_manifest(folder).get("wall_time", 0.0))
    clocks = (float(s.get("wall_time", 0.0)) for s in read_lines(folder / "snapshots.jsonl"))
    return max(told, max(clocks, default=0.0))


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Connects to Ray while the block runs, for runs without a results folder; else RLlib starts Ray.

    Args:
        address: Address of a Ray cluster; None to start one on this machine.
    """
    connect(address)
    try:
        yield
    finally:
        disconnect()
