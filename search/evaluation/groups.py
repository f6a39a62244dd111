"""Groups policies into evaluation tasks, so that tasks are batched and yet spread over the cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import ray

Item = TypeVar("Item")

# Tasks per CPU: with one, CPUs whose policies play short episodes would wait for the others.
TASKS_PER_CPU = 2
# Largest number of policies per task, so that progress is visible and a crash loses little work.
MOST = 8


def grouped(items: Sequence[Item], cpus: float) -> list[list[Item]]:
    """Divides items into groups, one per task, in order.

    Args:
        items: Items to evaluate.
        cpus: Number of CPUs of the cluster.
    """
    size = math.ceil(len(items) / (TASKS_PER_CPU * max(1.0, cpus)))
    size = min(MOST, max(1, size))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def cluster_cpus() -> float:
    """Returns the number of CPUs of the cluster that this process is connected to."""
    return float(ray.cluster_resources().get("CPU", 1.0))


def named(names: Sequence[str]) -> str:
    """Returns the names of policies as text for a message."""
    told = ", ".join(map(repr, names))
    return f"the policy {told}" if len(names) == 1 else f"the policies {told}"
