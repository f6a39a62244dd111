"""Which policies are evaluated in one task: at once, and yet spread over the cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import ray

Item = TypeVar("Item")

# Tasks of each CPU: with one, a CPU whose policies play short episodes would wait for the others.
TASKS_PER_CPU = 2
# Policies of a task, at most: progress shows, and what is lost where a process dies is little.
MOST = 8


def grouped(items: Sequence[Item], cpus: float) -> list[list[Item]]:
    """Shares items out in order.

    Args:
        items: What is evaluated.
        cpus: How many the cluster has.
    """
    size = math.ceil(len(items) / (TASKS_PER_CPU * max(1.0, cpus)))
    size = min(MOST, max(1, size))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def cluster_cpus() -> float:
    """CPUs of the cluster that this process is connected to."""
    return float(ray.cluster_resources().get("CPU", 1.0))


def named(names: Sequence[str]) -> str:
    """Names of policies, for a message."""
    told = ", ".join(map(repr, names))
    return f"the policy {told}" if len(names) == 1 else f"the policies {told}"
