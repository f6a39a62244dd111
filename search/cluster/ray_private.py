"""Ray's private parts: every one that a search leans on, and what it works around.

Any release of Ray may change them, so `pyproject.toml` holds Ray to one minor version. With another one
look here first.

- `get_num_cpus` counts as `ray.init` does, the limits of containers too, before there is Ray.
- `canonicalize_bootstrap_address` says where "auto" leads: `ray.init` tries silent heads for 15 minutes.
- `ENABLE_RAY_CLUSTER`: where it is false Ray listens on 127.0.0.1 alone, and no argument asks for that.
- `set_sigterm_handler`: a driver's own handler is gone while `ray.init` runs, and after it; Ray's C++
  part then puts its own before it, which writes a stack and aborts the process three seconds later.
- `TuneController`: Tune gives its trials to whoever is idle, and asks nobody what a failure means.
- `PlacementGroupResourceManager`: Tune's placement groups take no label selector.
- `RayActorManager` ends the whole run when Ray's memory monitor kills an actor.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ray._private import ray_constants, utils
from ray._private.services import canonicalize_bootstrap_address
from ray._private.utils import get_num_cpus
from ray.air.execution import PlacementGroupResourceManager, ResourceRequest
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.tune import tune
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController

__all__ = [
    "PlacementGroupResourceManager",
    "RayActorManager",
    "ResourceRequest",
    "TrackedActorTask",
    "TuneController",
    "canonicalize_bootstrap_address",
    "get_num_cpus",
    "loopback_only",
    "sigterm_left_alone",
    "with_actor_manager",
    "with_controller",
]


def loopback_only() -> AbstractContextManager[None]:
    """Inside, a cluster that is started listens on 127.0.0.1 alone.

    It is what Ray does where clusters of several machines aren't supported; `_node_ip_address` can't ask
    for it, for 127.0.0.1 is replaced by the machine's address.
    """
    return _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False)


@contextlib.contextmanager
def sigterm_left_alone() -> Iterator[None]:
    """Keeps the driver's handler of SIGTERM over `ray.init` and `ray.shutdown`.

    Ray's own ends the process, whoever waits for that, and its C++ part leaves none behind. While
    `ray.init` runs, that part is told first, then the driver's handler, which has to cancel the alarm
    that the first has set (`signal.alarm(0)`). What Ray starts ends with the driver all the same: at its
    exit, or with it.
    """
    try:
        with _replaced(utils, "set_sigterm_handler", lambda handler: None):
            yield
    finally:
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def with_controller(make: Callable[..., TuneController]) -> AbstractContextManager[None]:
    """Inside, a Tune run takes its controller from `make`, called with `TuneController`'s arguments."""
    return _replaced(tune, "TuneController", make)


def with_actor_manager(kind: type[RayActorManager]) -> AbstractContextManager[None]:
    """Inside, a Tune run starts its actors by a manager of another class."""
    return _replaced(tune_controller, "RayActorManager", kind)


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
