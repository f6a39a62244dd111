"""What Ray's memory monitor kills is lost as any other process is: tried again, and noted.

The tasks of an actor that it kills raise OutOfMemoryError, which is no RayActorError; in Ray 2.60 Tune's
actor manager ends the whole run on what is neither that nor an exception of the task itself
(`RayActorManager._actor_task_failed`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from search.cluster.ray_private import RayActorManager, TrackedActorTask, with_actor_manager


def survived() -> AbstractContextManager[None]:
    """Inside, a Tune run outlives the actors that are killed because memory runs low."""
    return with_actor_manager(_ActorManager)


class _ActorManager(RayActorManager):
    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        # What a task raised itself is also a RayTaskError, and its actor lives.
        if isinstance(exception, OutOfMemoryError) and not isinstance(exception, RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        super()._actor_task_failed(tracked_actor_task, exception)
