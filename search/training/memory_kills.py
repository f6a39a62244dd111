"""Treats actors that Ray's memory monitor kills like any other lost process: retried and recorded.

The tasks of a killed actor raise OutOfMemoryError, which isn't a RayActorError. In Ray 2.60, Tune's
actor manager ends the whole run on any error that is neither a RayActorError nor an exception of the
task itself (`RayActorManager._actor_task_failed`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from search.cluster.ray_private import RayActorManager, TrackedActorTask, with_actor_manager


def survived() -> AbstractContextManager[None]:
    """Returns a context in which a Tune run survives actors that are killed because memory runs low."""
    return with_actor_manager(_ActorManager)


class _ActorManager(RayActorManager):
    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        # An OutOfMemoryError raised by the task itself is also a RayTaskError, and its actor is alive.
        if isinstance(exception, OutOfMemoryError) and not isinstance(exception, RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        super()._actor_task_failed(tracked_actor_task, exception)
