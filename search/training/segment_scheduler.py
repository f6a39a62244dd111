"""Runs the coordinator's segments as Ray Tune trials.

A trial is one segment, or a pack of segments that are trained together. Tune runs as many trials at
once as there are slots, in actors that are reused from trial to trial. A segment is decided on only
when a slot is free, so that the ranking always uses the latest results. Tune's own population-based
training can't be combined with a searcher, ignores bounds, and stops and restarts whole populations; a
searcher that hands out segments has none of these problems.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from typing_extensions import override

from rllib_ext.member.segment import DENSE, MEMBERS, Segment, config_of, segment_name, segments_of
from rllib_ext.pruning.errors import PrunefrontError, RunError
from search.cluster.failure import is_disk_full, is_unseen, reason_of
from search.cluster.retries import Retries
from search.cluster.shared_folder import SharedFolder, unseen
from search.population.progress import Progress


class Decides(Protocol):
    """Interface of objects that decide which segments are trained, such as a search's `Coordinator`."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train, now or later."""
        ...

    @property
    def progress(self) -> Progress:
        """Current progress of the training."""
        ...

    def decide(self) -> Segment | None:
        """Returns the segment to train next, or None if there is none at the moment."""
        ...

    def tell(
        self, segment: Segment, result: Mapping[str, Any], snapshot: Mapping[str, Any] | None
    ) -> None:
        """Records the result of one training iteration."""
        ...

    def note_retry(self, segment: Segment, error: str) -> None:
        """Records that a segment failed and is trained again from its start."""
        ...

    def end(self, segment: Segment, error: str = "") -> None:
        """Records that a segment is over."""
        ...


class SegmentScheduler(Searcher):
    """A Tune searcher that passes segments to Tune and Tune's results to the coordinator.

    Args:
        coordinator: Decides which segments are trained.
        slots: Number of trials that run at once.
        on_progress: Called after every result.
        pack: Maximum number of segments per trial; None if each trial is a single segment, not a pack.
        shared: Results folder that nodes must be shown to see; None to skip this check.
    """

    def __init__(
        self,
        coordinator: Decides,
        slots: int,
        on_progress: Callable[[], None],
        pack: int | None = None,
        shared: SharedFolder | None = None,
    ) -> None:
        super().__init__()
        self._coordinator = coordinator
        self._slots = slots
        self._on_progress = on_progress
        self._pack = pack
        # Segments by trial id, then by member.
        self._running: dict[str, dict[int, Segment]] = {}
        self._begun: set[str] = set()
        self._returned: list[list[Segment]] = []
        self._shared = shared
        self._retries = Retries()
        # Last reported env steps by trial id.
        self._reached: dict[str, int] = {}
        self.error: PrunefrontError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the next trial's config; None if there is none yet, `FINISHED` if none will follow."""
        if self.error is not None or self._coordinator.finished:
            return str(Searcher.FINISHED)
        if len(self._running) >= self._slots:
            return None
        segments = self._returned.pop() if self._returned else []
        if not segments and not self._attempt(lambda: segments.extend(self._decide())):
            return str(Searcher.FINISHED)
        if not segments:
            return None
        self._running[trial_id] = {segment.member: segment for segment in segments}
        return segments[0].to_dict() if self._pack is None else config_of(segments)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Passes the result of an iteration on to the coordinator."""
        self._attempt(lambda: self._tell(trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Passes the last result on and frees the slot; after an error, `take_failure` frees it."""
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
            self._end(trial_id, "")

    def note_start(self, trial_id: str) -> None:
        """Records that a process is ready for a trial."""
        self._begun.add(trial_id)

    def unseen(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Returns why a result's files can't be used; empty if the driver sees them."""
        if self._shared is None:
            return ""
        written = [s[kind] for s in _snapshots(result) for kind in ("checkpoint", "state")]
        return "" if self._shared.holds(written) else unseen(self._shared.folder, result["node"])

    def take_failure(self, trial_id: str, reason: str) -> None:
        """Puts a failed trial's remaining segments into another trial, unless they failed too often.

        A node that doesn't see the results folder is avoided from now on.
        """
        if is_unseen(reason) and self._shared is not None:
            shared = self._shared
            self._attempt(lambda: shared.avoid(reason))
        left = list(self._running[trial_id].values())
        again = self._retries.again(
            (left[0].member, left[0].segment),
            reason,
            self._reached.get(trial_id, 0),
            # Tune also assigns trials to idle processes that have died in the meantime.
            begun=trial_id in self._begun,
        )
        if not again:
            self._end(trial_id, reason)
            return
        self._forget(trial_id)
        for segment in left:
            self._attempt(functools.partial(self._coordinator.note_retry, segment, reason), reason)
        self._returned.append(left)

    def _attempt(self, action: Callable[[], object], reason: str = "") -> bool:
        """Runs an action unless the search is ending, and stores an error that ends it for the driver.

        A full disk ends the search as well: later training would be lost, and no member caused it.

        Args:
            action: Function to call.
            reason: Why a trial failed; empty if none did.

        Returns:
            Whether the search goes on.
        """
        if self.error is None and is_disk_full(reason):
            self.error = RunError(reason)
        if self.error is not None:
            return False
        try:
            action()
        except PrunefrontError as error:
            self.error = error
        except OSError as error:
            self.error = RunError(str(error))
        return self.error is None

    def _decide(self) -> Iterator[Segment]:
        for _ in range(self._pack or 1):
            segment = self._coordinator.decide()
            if segment is None:
                return
            yield segment
            # The dense baseline trains for a whole horizon; segments in its pack would wait for it.
            if segment.member == DENSE:
                return

    def _tell(self, trial_id: str, result: dict[str, Any]) -> None:
        self._reached[trial_id] = int(result.get("env_steps", 0))
        if self._pack is None:
            (segment,) = self._running[trial_id].values()
            snapshot = result.get("snapshot")
            self._coordinator.tell(segment, result, json.loads(snapshot) if snapshot else None)
        else:
            for member in json.loads(result[MEMBERS]):
                self._tell_of_member(trial_id, member)
        self._on_progress()

    def _tell_of_member(self, trial_id: str, result: dict[str, Any]) -> None:
        segment = self._running[trial_id][result["member"]]
        self._coordinator.tell(segment, result, result.get("snapshot"))
        if result["segment_done"]:
            del self._running[trial_id][segment.member]
            self._coordinator.end(segment, result["failure"])

    def _end(self, trial_id: str, reason: str) -> None:
        for segment in self._forget(trial_id).values():
            self._attempt(functools.partial(self._coordinator.end, segment, reason), reason)

    def _forget(self, trial_id: str) -> dict[int, Segment]:
        """Frees the slot of a trial and returns its remaining segments."""
        self._begun.discard(trial_id)
        self._reached.pop(trial_id, None)
        return self._running.pop(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: everything needed to resume a search is in its results folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, like `save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Does nothing, like `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts to restore an experiment; our search resumes from the archive instead.
        return {}


class ErrorNotes(Callback):
    """A callback that tells the scheduler when a trial starts and why it fails; Tune gives no reason."""

    def __init__(self, scheduler: SegmentScheduler) -> None:
        self._scheduler = scheduler

    @override
    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Reports a failure; called after `Searcher.on_trial_complete`."""
        self._scheduler.take_failure(trial.trial_id, _reason(trial))

    @override
    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Reports a start; also called when a process is reused."""
        self._scheduler.note_start(trial.trial_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _snapshots(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the snapshots in a trial's result: those of a pack's members, or of its single member."""
    if MEMBERS in result:
        return [m["snapshot"] for m in json.loads(result[MEMBERS]) if m.get("snapshot")]
    return [json.loads(result["snapshot"])] if result.get("snapshot") else []


def _reason(trial: Trial) -> str:
    # The file is in Ray's own folder; Tune moves it to the results folder only later.
    written = Path(trial.error_file) if trial.error_file else None
    if written is None or not written.is_file():
        return reason_of(str(trial.get_error() or ""))
    return reason_of(written.read_text().rpartition("Failure # ")[2])


class UntilOver(Stopper):
    """A stopper that ends a trial with its last segment, and all trials when the search can't go on.

    Args:
        scheduler: Scheduler whose `error` is set when the search can't go on.
    """

    def __init__(self, scheduler: SegmentScheduler) -> None:
        self._scheduler: SegmentScheduler | None = scheduler

    @override
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result["segment_done"])

    @override
    def stop_all(self) -> bool:
        return self._scheduler is not None and self._scheduler.error is not None

    def __getstate__(self) -> dict[str, Any]:
        return {"_scheduler": None}


def trial_name(trial: Trial) -> str:
    """Returns the name of a trial and its folder: that of its first segment, plus how many others."""
    first, *others = segments_of(trial.config)
    name = segment_name(first.member, first.segment)
    return f"{name}-and-{len(others)}" if others else name
