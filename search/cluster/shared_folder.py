"""Checks that workers and the driver see the same results folder; avoids other nodes.

A folder that isn't seen looks like one from which everything was removed: a search would end with a
false verdict. So workers prove that they see what the driver wrote (`rllib_ext.member.seen`), and the
driver looks whether it sees what a worker says that it has written.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rllib_ext.member.seen import TOKEN
from rllib_ext.pruning.errors import NOT_SEEN, ConfigError, RunError
from search.cluster.waiting import Say

# Network file systems show a new file a little later.
_LATER_SECONDS, _LOOK_SECONDS = 10.0, 0.25
_SEE_SECONDS = 120.0
# As `rllib_ext.member.seen.this_node` names it.
_NODE = re.compile(r"(\S+) \(([0-9a-f]{16,})\)")
_NODE_ID = "ray.io/node-id"


class SharedFolder:
    """The results folder while workers write to it: a token lies in it for as long as this is entered.

    Args:
        folder: The results folder.
        note: Callback for messages about avoided nodes.

    Attributes:
        token: For `rllib_ext.member.seen.prove_seen`.
    """

    def __init__(self, folder: Path, note: Say) -> None:
        self.folder = folder
        self.token = uuid4().hex
        self._note = note
        # Addresses by Ray's id.
        self._avoided: dict[str, str] = {}

    def __enter__(self) -> Self:
        (self.folder / TOKEN).write_text(self.token)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self.folder / TOKEN).unlink(missing_ok=True)

    def holds(self, paths: Iterable[str]) -> bool:
        """Whether this process sees what workers say that they have written, now or a little later.

        Args:
            paths: Relative to the folder.
        """
        until = time.monotonic() + _LATER_SECONDS
        left = [path for path in paths if path]
        while left := [path for path in left if not (self.folder / path).exists()]:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def avoid(self, text: str) -> None:
        """Keeps further work off a node.

        Args:
            text: Text that names the node as `rllib_ext.member.seen.this_node` does.

        Raises:
            RunError: No node is left.
        """
        found = _NODE.search(text)
        if found is None or found[2] in self._avoided:
            return
        self._avoided[found[2]] = found[1]
        self._note(f"node {found[1]} doesn't see {self.folder}, and is avoided")
        if all(node["NodeID"] in self._avoided for node in ray.nodes() if node["Alive"]):
            raise RunError(
                f"no node of the cluster sees {self.folder} as the driver does. Members write their "
                "policies where they train: mount it on all nodes at this path, then go on."
            )

    @property
    def avoided(self) -> tuple[str, ...]:
        """Addresses of the nodes that are avoided."""
        return tuple(self._avoided.values())

    @property
    def label_selector(self) -> dict[str, str]:
        """Returns the label selector that excludes avoided nodes; empty if there are none."""
        return {_NODE_ID: f"!in({','.join(self._avoided)})"} if self._avoided else {}


def unseen(folder: Path, node: str) -> str:
    """Why something is tried again that was trained well.

    Args:
        folder: The results folder.
        node: The node's name, from `rllib_ext.member.seen.this_node`.
    """
    return (
        f"what node {node} wrote to {folder} {NOT_SEEN} the driver: another folder lies there at this "
        "path"
    )


def refuse_unseen(folder: Path) -> None:
    """Checks whether every node that is there at the start sees the results folder.

    Raises:
        ConfigError: One doesn't, so that what its members write would be lost.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    mark = folder / f".seen-{uuid4().hex}"
    mark.touch()
    try:
        tasks = {
            ray.remote(os.path.exists)
            .options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(str(mark)): node
            for node in nodes
        }
        answered, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=_SEE_SECONDS)
        unseeing = [node for task, node in tasks.items() if task not in answered or not _sees(task)]
    finally:
        mark.unlink()
    # One that has gone since trains nothing.
    left = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    blind = sorted(node["NodeManagerAddress"] for node in unseeing if node["NodeID"] in left)
    if blind:
        raise ConfigError(
            f"{folder} is not seen by {len(blind)} of {len(nodes)} nodes ({', '.join(blind)}), and "
            "members write their policies where they train. Expected a folder that every node sees at "
            "this path, such as a network file system: name it with --output."
        )


def _sees(task: ray.ObjectRef[bool]) -> bool:
    try:
        return bool(ray.get(task))
    except ray.exceptions.RayError:
        # Its node has died, or can't run anything.
        return False
