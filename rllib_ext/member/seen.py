"""Checks that a process sees its driver's results folder, and not another one at the same path.

The driver of a training writes a token into the folder, and each process reads it before it trains. On a
node without the folder, everything that the process writes would be lost unnoticed.
"""

from __future__ import annotations

import time
from pathlib import Path

import ray

from rllib_ext.pruning.errors import NOT_SEEN, UnseenFolderError

TOKEN = ".seen"
# Network file systems show a new file with a delay.
_LATER_SECONDS, _LOOK_SECONDS = 5.0, 0.25


def prove_seen(folder: Path, token: str) -> None:
    """Checks that this process sees the folder that the driver wrote a token into.

    Args:
        folder: The results folder.
        token: Token that the driver wrote; empty to skip the check.

    Raises:
        UnseenFolderError: The folder is missing here, or is a different one.
    """
    until = time.monotonic() + _LATER_SECONDS
    while token and _read(folder / TOKEN) != token:
        if time.monotonic() > until:
            raise UnseenFolderError(
                f"{folder} {NOT_SEEN} node {this_node()}, or is another folder there. Members write "
                "their policies where they train: mount it there at this path, or take the node away."
            )
        time.sleep(_LOOK_SECONDS)


def this_node() -> str:
    """Returns the IP address and Ray id of the node that this process runs on; empty without Ray."""
    if not ray.is_initialized():
        return ""
    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()})"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
