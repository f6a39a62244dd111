"""Proof that a process sees the results folder that its driver sees, and not another one at that path.

Whoever starts a training writes a token into the folder, and each process reads it before it trains: on
a node without the folder, what it wrote would be lost, and nobody would know.
"""

from __future__ import annotations

import time
from pathlib import Path

import ray

from rllib_ext.pruning.errors import NOT_SEEN, UnseenFolderError

TOKEN = ".seen"
# Network file systems show a new file a little later.
_LATER_SECONDS, _LOOK_SECONDS = 5.0, 0.25


def prove_seen(folder: Path, token: str) -> None:
    """Looks whether this process sees the folder that a token was written into.

    Args:
        folder: The results folder.
        token: What the driver wrote; "" where it is not to be proven.

    Raises:
        UnseenFolderError: The folder isn't here, or is another one.
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
    """The node that this process runs on: its IP address and Ray's id; "" without Ray."""
    if not ray.is_initialized():
        return ""
    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()})"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
