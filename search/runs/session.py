"""A run's time on Ray: connected, timed, and however it ends its end told in the manifest."""

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

# From a status, and seconds that a run took, what the manifest says of that.
Ended = Callable[[str, float], dict[str, Any]]


def starting_ray(address: str | None) -> str:
    """What a person is told while Ray is waited for.

    Args:
        address: A Ray cluster's address; None: a cluster of its own on this machine.
    """
    if address is None:
        return "starting Ray on this machine"
    return f"connecting to the Ray cluster at {address}"


@contextlib.contextmanager
def session(
    folder: Path, address: str | None, note: Say, ended: Ended | None = None
) -> Iterator[None]:
    """A cluster that sees the results folder, for as long as the block runs.

    Args:
        folder: The results folder.
        address: A Ray cluster's address; None: a cluster of its own on this machine.
        note: Shows a person what is waited for.
        ended: What the manifest is told at the end, as `recorded` takes it.

    Raises:
        ConfigError: There is no cluster, it lets nobody in, or a node doesn't see the folder.
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
    """Tells the manifest how the block ended: "finished", "interrupted" or "failed".

    Args:
        folder: The results folder.
        ended: What is told of that; None: "status", and "wall_time" with that of earlier processes.
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
        # On a full disk, what ended the run is what counts.
        with contextlib.suppress(OSError):
            update_manifest(folder, **told(status, time.monotonic() - started))


def _earlier_seconds(folder: Path) -> float:
    """What earlier processes took: one that was killed didn't say, but its last snapshot does."""
    told = float(read_manifest(folder).get("wall_time", 0.0))
    clocks = (float(s.get("wall_time", 0.0)) for s in read_lines(folder / "snapshots.jsonl"))
    return max(told, max(clocks, default=0.0))


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Ray for as long as the block runs, of what has no results folder yet: RLlib starts one otherwise.

    Args:
        address: A Ray cluster's address; None: a cluster of its own on this machine.
    """
    connect(address)
    try:
        yield
    finally:
        disconnect()
