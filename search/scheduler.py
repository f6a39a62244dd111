"""The coordinator's decisions, carried out on Ray Tune's trials.

A trial is one segment, or a pack of them that are trained together; Tune runs as many trials at once as
there are slots, in actors that are reused from trial to trial. So that ranking always sees the latest, a
segment is only decided on when a slot is free. Tune's own population-based training refuses a searcher
beside it, ignores bounds, and stops and restarts whole populations; a searcher that hands out segments
needs none of that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from rllib_ext.pruning.errors import PrunefrontError
from rllib_ext.segment import DENSE, MEMBERS, Segment, config_of, segment_name, segments_of
from search.progress import Progress


class Decides(Protocol):
    """Whoever decides which segments are trained, as `search.coordinator.Coordinator` does."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train, now or later."""
        ...

    @property
    def progress(self) -> Progress:
        """How far it is."""
        ...

    def decide(self) -> Segment | None:
        """The segment to train next; None: nothing now."""
        ...

    def tell(
        self, segment: Segment, result: Mapping[str, Any], snapshot: Mapping[str, Any] | None
    ) -> None:
        """Takes the result of one training iteration."""
        ...

    def note_retry(self, segment: Segment, error: str) -> None:
        """Takes note that a segment failed and is trained again from its start."""
        ...

    def end(self, segment: Segment, error: str = "") -> None:
        """Takes note that a segment is over."""
        ...


class SegmentScheduler(Searcher):
    """Hands segments to Tune, and Tune's results to the coordinator.

    Args:
        coordinator: Decides.
        slots: How many trials run at once.
        on_progress: Called after every result.
        pack: Segments of a trial, at most; None: a trial is one segment, not a pack.
    """

    def __init__(
        self,
        coordinator: Decides,
        slots: int,
        on_progress: Callable[[], None],
        pack: int | None = None,
    ) -> None:
        super().__init__()
        self._coordinator = coordinator
        self._slots = slots
        self._on_progress = on_progress
        self._pack = pack
        # By trial, then by member.
        self._running: dict[str, dict[int, Segment]] = {}
        self.error: PrunefrontError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's plain values; None: nothing now; `FINISHED`: never again."""
        if self.error is not None or self._coordinator.finished:
            return str(Searcher.FINISHED)
        if len(self._running) >= self._slots:
            return None
        try:
            segments = list(self._decide())
        except PrunefrontError as error:
            self.error = error
            return str(Searcher.FINISHED)
        if not segments:
            return None
        self._running[trial_id] = {segment.member: segment for segment in segments}
        return segments[0].to_dict() if self._pack is None else config_of(segments)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Passes an iteration's result on."""
        if self._pack is None:
            (segment,) = self._running[trial_id].values()
            snapshot = result.get("snapshot")
            self._coordinator.tell(segment, result, json.loads(snapshot) if snapshot else None)
        else:
            for member in json.loads(result[MEMBERS]):
                self._tell_of_member(trial_id, member)
        self._on_progress()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Passes the last result on and frees the slot; after an error `give_up` does that."""
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
            self._end(trial_id, "")

    def note_retry(self, trial_id: str, reason: str) -> None:
        """A trial failed and is started again."""
        for segment in self._running[trial_id].values():
            self._coordinator.note_retry(segment, reason)

    def give_up(self, trial_id: str, reason: str) -> None:
        """A trial failed for good."""
        self._end(trial_id, reason)

    def _decide(self) -> Iterator[Segment]:
        for _ in range(self._pack or 1):
            segment = self._coordinator.decide()
            if segment is None:
                return
            yield segment
            # It is as long as a horizon: whoever is packed with it would wait for it.
            if segment.member == DENSE:
                return

    def _tell_of_member(self, trial_id: str, result: dict[str, Any]) -> None:
        segment = self._running[trial_id].get(result["member"])
        # A pack that is run again repeats segments that were over.
        if segment is None:
            return
        self._coordinator.tell(segment, result, result.get("snapshot"))
        if result["segment_done"]:
            del self._running[trial_id][segment.member]
            self._end_segment(segment, result["failure"])

    def _end(self, trial_id: str, reason: str) -> None:
        for segment in self._running.pop(trial_id).values():
            self._end_segment(segment, reason)

    def _end_segment(self, segment: Segment, reason: str) -> None:
        try:
            self._coordinator.end(segment, reason)
        except PrunefrontError as error:
            self.error = error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what a search needs to go on is in its results folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts to restore an experiment by itself; ours goes on from the archive.
        return {}


class ErrorNotes(Callback):
    """Tells the scheduler why a trial failed: Tune tells searchers only that it did."""

    def __init__(self, scheduler: SegmentScheduler) -> None:
        self._scheduler = scheduler

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """As `ray.tune.Callback.on_trial_error`: after `Searcher.on_trial_complete`."""
        self._scheduler.give_up(trial.trial_id, _reason(trial))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """As `ray.tune.Callback.on_trial_recover`."""
        self._scheduler.note_retry(trial.trial_id, _reason(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _reason(trial: Trial) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def trial_name(trial: Trial) -> str:
    """The name of a trial and its folder: its segment's, or its first one's and how many more."""
    first, *others = segments_of(trial.config)
    name = segment_name(first.member, first.segment)
    return f"{name}-and-{len(others)}" if others else name
