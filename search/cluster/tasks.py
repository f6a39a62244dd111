"""Work spread over the cluster as Ray tasks: tried again where it fails, kept off blind nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.tune import PlacementGroupFactory
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rllib_ext.member.seen import prove_seen, this_node
from rllib_ext.pruning.errors import RunError
from search.cluster.connection import waits_for
from search.cluster.failure import is_disk_full, is_unseen, reason_of
from search.cluster.retries import Retries
from search.cluster.shared_folder import SharedFolder, unseen
from search.cluster.tune_controller import placed
from search.cluster.waiting import SAY_SECONDS, Say

Key = TypeVar("Key")
_ONE_CPU = PlacementGroupFactory([{"CPU": 1.0}])


@dataclasses.dataclass(frozen=True)
class Task:
    """A function call in another process.

    Attributes:
        what: Begins the message where it fails.
        function: A function that a module holds, not a lambda or a nested one.
        arguments: Its own.
        needs: A placement group of its own, for it and what it starts; None: one CPU.
        written: Returns the paths that it wrote, relative to the results folder, given its result.
    """

    what: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: PlacementGroupFactory | None = None
    written: Callable[[Any], Iterable[str]] = lambda result: ()


def run_tasks(
    tasks: Mapping[Key, Task], folder: Path, note: Say
) -> Iterator[tuple[Key, Any | RunError]]:
    """Runs tasks, as many at once as the cluster holds.

    A task begins anew where its process dies, or the function raises.

    Args:
        tasks: By what the caller knows them by.
        folder: The results folder, which each has to see.
        note: Callback for messages about waiting and avoided nodes.

    Yields:
        Each key, as its task ends, with what the function returned, or why it failed for good.

    Raises:
        RunError: No node sees the folder, or a disk is full: what is tried again finds no more room.
    """
    if not tasks:
        return
    with SharedFolder(folder, note) as shared:
        runs = _Runs(shared)
        for key, task in tasks.items():
            runs.start(key, task)
        try:
            yield from _ended(runs, tasks, note)
        finally:
            runs.close()


def whole(result: Any | RunError) -> Any:
    """Returns a task's result.

    Raises:
        RunError: It failed for good.
    """
    if isinstance(result, RunError):
        raise result
    return result


def _ended(
    runs: _Runs, tasks: Mapping[Key, Task], note: Say
) -> Iterator[tuple[Key, Any | RunError]]:
    retries, attempts = Retries(), 0
    while runs.running:
        ready, _ = ray.wait(list(runs.running), timeout=SAY_SECONDS)
        if not ready:
            note(runs.waits_for(tasks))
        for reference in ready:
            key = runs.take(reference)
            task = tasks[key]
            result, reason = runs.outcome(task, reference)
            attempts += 1
            if not reason:
                yield key, result
            elif is_disk_full(reason):
                raise RunError(reason)
            # Where it died in a task nobody knows: all deaths are taken to be at points of their own.
            elif retries.again(key, reason, attempts):
                if is_unseen(reason):
                    runs.shared.avoid(reason)
                runs.start(key, task)
            else:
                yield (
                    key,
                    RunError(
                        f"{task.what} cannot be evaluated: {reason}. Episodes run in fresh processes; "
                        "check that the environment steps there to the end of an episode."
                    ),
                )


class _Runs:
    """Tasks that are running.

    Args:
        shared: The results folder.
    """

    def __init__(self, shared: SharedFolder) -> None:
        self.shared = shared
        # By Ray's reference, what the caller knows it by, and its placement group.
        self.running: dict[Any, tuple[Any, Any]] = {}

    def start(self, key: Any, task: Task) -> None:
        """Starts a task where the folder is seen."""
        how: dict[str, Any] = {"label_selector": self.shared.label_selector or None}
        group = None
        if task.needs is not None:
            group = placed(task.needs, self.shared).to_placement_group()
            head = task.needs.bundles[0]
            how = {
                "num_cpus": head.get("CPU", 0),
                "num_gpus": head.get("GPU", 0),
                "scheduling_strategy": PlacementGroupSchedulingStrategy(
                    placement_group=group, placement_group_capture_child_tasks=True
                ),
            }
        remote = ray.remote(_proven).options(max_retries=0, name=task.what, **how)
        reference = remote.remote(self.shared.folder, self.shared.token, task)
        self.running[reference] = key, group

    def take(self, reference: Any) -> Any:
        """Takes a task that has ended; returns what the caller knows it by."""
        key, group = self.running.pop(reference)
        if group is not None:
            remove_placement_group(group)
        return key

    def outcome(self, task: Task, reference: Any) -> tuple[Any, str]:
        """Returns a task's result, and the reason of a failure; empty if it didn't fail."""
        try:
            node, result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            return None, reason_of(str(error))
        except ray.exceptions.RayError as error:
            return None, reason_of(f"{error}\n{type(error).__name__}")
        if not self.shared.holds(task.written(result)):
            return None, unseen(self.shared.folder, node)
        return result, ""

    def waits_for(self, tasks: Mapping[Any, Task]) -> str:
        """Returns a message about what is waited for."""
        (key, _), *_ = self.running.values()
        needed = (tasks[key].needs or _ONE_CPU).required_resources
        text = waits_for("task", needed, self.shared.avoided)
        return f"{len(self.running)} tasks are running, or {text}"

    def close(self) -> None:
        """Gives back what is still held."""
        for _, group in self.running.values():
            if group is not None:
                remove_placement_group(group)


def _proven(folder: Path, token: str, task: Task) -> tuple[str, Any]:
    prove_seen(folder, token)
    return this_node(), task.function(*task.arguments)
