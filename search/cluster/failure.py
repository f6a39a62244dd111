"""Why something failed, in a line: read from what Ray and Tune leave of an exception, which is text."""

from __future__ import annotations

import errno
import os
import re

from rllib_ext.pruning.errors import NOT_SEEN

_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_MEMORY = ("running low on memory", "OutOfMemoryError", "OOM killer killed")
_PROCESS = "its process "
_DEAD = ("The actor is dead because", "The worker died unexpectedly")
_NODE = re.compile(
    r"because its node has died|the actor's node was |NodeDiedError|LocalRayletDiedError|"
    r"node it was running on|ObjectLostError|The actor is temporarily unavailable"
)
_LOST_NODE = f"{_PROCESS}was lost with its node: "
_MEMORY_RAN_LOW = f"{_PROCESS}was killed because memory ran low (OutOfMemoryError)"
_RAISED = re.compile(r"\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*: \S")


def is_disk_full(reason: object) -> bool:
    """Whether a message says that a disk, or a share of it, is used up."""
    return any(text in str(reason) for text in _FULL)


def is_death(reason: str) -> bool:
    """Whether a reason, as `reason_of` gives it, is that a process died."""
    return reason.startswith(_PROCESS)


def is_loss(reason: str) -> bool:
    """Whether a reason, as `reason_of` gives it, is that a cluster took a process away.

    Its node went, or memory ran low there: nothing that the process did needs to be wrong.
    """
    return reason.startswith((_LOST_NODE, _MEMORY_RAN_LOW))


def is_unseen(reason: str) -> bool:
    """Whether a reason, as `reason_of` gives it, is that a node doesn't see the results folder."""
    return NOT_SEEN in reason


def reason_of(text: str) -> str:
    """The one line of an error that tells what happened.

    Args:
        text: A traceback, or what Ray says of a process that died; of several errors that led to each
            other the last that says something counts.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines:
        return "no reason given"
    if any(word in text for word in _MEMORY):
        return _MEMORY_RAN_LOW
    dead = next((line for line in lines if line.startswith(_DEAD)), None)
    lost = next((line for line in lines if _NODE.search(line)), None)
    if lost is not None:
        return f"{_LOST_NODE}{lost}"
    if dead is not None:
        detail = dead.partition("Worker exit detail: ")[2] or dead
        return f"{_PROCESS}died: {detail.partition(' Some common causes')[0]}"
    raised = [line for line in lines if _RAISED.match(line)]
    return raised[-1] if raised else lines[-1]
