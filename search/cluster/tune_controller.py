"""Ray Tune's controller, told what a cluster does to a search.

What Tune alone does not do: let processes that start later than others have their share, keep off nodes
that don't see the results folder, and say what it waits for.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from rllib_ext.pruning.errors import UnseenFolderError
from search.cluster.ray_private import (
    PlacementGroupResourceManager,
    ResourceRequest,
    TuneController,
    with_controller,
)
from search.cluster.shared_folder import SharedFolder
from search.cluster.waiting import SAY_SECONDS, Say

# How long a trial waits for a process of its own that is starting, while another one is idle.
_START_SECONDS = 300.0


class Judge(Protocol):
    """Judges whether the files that a result names are visible here."""

    def unseen(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Returns why the files that a result names can't be used here; empty if they can."""
        ...


@dataclasses.dataclass(frozen=True)
class Supervisor:
    """The callbacks and state that a controller gets.

    Attributes:
        judge: Judges whether the files that a result names are visible here.
        shared: Shared folder, which knows the avoided nodes.
        note: Callback for messages to the user.
        waits_for: Returns a message about what trials wait for.
    """

    judge: Judge
    shared: SharedFolder
    note: Say
    waits_for: Callable[[], str]


def supervised(supervisor: Supervisor) -> AbstractContextManager[None]:
    """Inside, a Tune run does what a supervisor says."""
    return with_controller(functools.partial(_Controller, supervisor))


class _Controller(TuneController):
    def __init__(self, supervisor: Supervisor, **arguments: Any) -> None:
        self._supervisor = supervisor
        # When a trial was first kept from an idle process, by its id.
        self._held: dict[str, float] = {}
        self._last_running = time.monotonic()
        super().__init__(resource_manager_factory=lambda: _placing(supervisor.shared), **arguments)

    def on_step_end(self) -> None:
        super().on_step_end()
        now = time.monotonic()
        if self._running_trials or not self._pending_trials:
            self._last_running = now
        elif now - self._last_running >= SAY_SECONDS:
            self._last_running = now
            starting = any(self._is_starting(trial) for trial in self._pending_trials)
            self._supervisor.note(
                "waiting for a process to start" if starting else self._supervisor.waits_for()
            )

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        # Tune gives every trial to whoever is idle, and ends the process that was starting for it: the
        # first to be there would train all short segments, however many nodes there are.
        if self._is_starting(trial):
            since = self._held.setdefault(trial.trial_id, time.monotonic())
            if time.monotonic() - since < _START_SECONDS:
                return False
        self._held.pop(trial.trial_id, None)
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _is_starting(self, trial: Trial) -> bool:
        """Whether a trial's own process has its resources and isn't there yet."""
        actor = self._trial_to_actor.get(trial)
        if actor is None or actor in self._started_actors:
            return False
        return bool(self._actor_manager.is_actor_started(actor))

    def _process_trial_result(self, trial: Trial, result: dict[str, Any]) -> Any:
        unseen = self._supervisor.judge.unseen(trial.trial_id, result)
        if unseen:
            self._process_trial_failure(trial, UnseenFolderError(unseen))
            return None
        return super()._process_trial_result(trial, result)

    def _process_trial_failure(self, trial: Trial, exception: Exception) -> None:
        # Tune does not count preemptions, and would start such a trial again, whole.
        trial.run_metadata.num_failures += 1
        super()._process_trial_failure(trial, exception)

    def __getstate__(self) -> dict[str, Any]:
        ours = {"_supervisor", "_held", "_last_running"}
        return {k: v for k, v in super().__getstate__().items() if k not in ours}


class _Placing(PlacementGroupResourceManager):
    """Places processes where the results folder is seen."""

    shared: SharedFolder

    def request_resources(self, resource_request: ResourceRequest) -> None:
        # As Tune's, which knows what it placed by what was asked for.
        group = placed(resource_request, self.shared).to_placement_group()
        self._pg_to_request[group] = resource_request
        self._request_to_staged_pgs[resource_request].add(group)
        ready = group.ready()
        self._staging_future_to_pg[ready] = group
        self._pg_to_staging_future[group] = ready


def _placing(shared: SharedFolder) -> _Placing:
    manager = _Placing()
    manager.shared = shared
    return manager


def placed(request: ResourceRequest, shared: SharedFolder) -> ResourceRequest:
    """A request for resources on nodes that see the results folder."""
    selector = shared.label_selector
    if not selector:
        return request
    bundles = request.bundles
    return PlacementGroupFactory(
        bundles, request.strategy, bundle_label_selector=[selector] * len(bundles)
    )
