"""The coordinator's decisions, carried out on Ray Tune's trials.

A trial is one segment, or a pack of them that are trained together; Tune runs as many trials at once as
there are slots, in actors that are reused from trial to trial. So that ranking always sees the latest, a
segment is only decided on when a slot is free. Tune's own population-based training refuses a searcher
beside it, ignores bounds, and stops and restarts whole populations; a searcher that hands out segments
needs none of that.
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
    """Whoever decides which segments are trained, as a search's `Coordinator` does."""

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
        shared: The results folder, where it is to be proven that nodes see it.
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
        # By trial, then by member.
        self._running: dict[str, dict[int, Segment]] = {}
        self._begun: set[str] = set()
        self._returned: list[list[Segment]] = []
        self._shared = shared
        self._retries = Retries()
        # By trial, env steps as last heard.
        self._reached: dict[str, int] = {}
        self.error: PrunefrontError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's plain values; None: nothing now; `FINISHED`: never again."""
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
        """Passes an iteration's result on."""
        self._attempt(lambda: self._tell(trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Passes the last result on and frees the slot; after an error `take_failure` does that."""
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
            self._end(trial_id, "")

    def note_start(self, trial_id: str) -> None:
        """A process is ready for a trial."""
        self._begun.add(trial_id)

    def unseen(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Why what a result speaks of can't be used; "" where the driver sees what was written."""
        if self._shared is None:
            return ""
        written = [s[kind] for s in _snapshots(result) for kind in ("checkpoint", "state")]
        return "" if self._shared.holds(written) else unseen(self._shared.folder, result["node"])

    def take_failure(self, trial_id: str, reason: str) -> None:
        """A trial failed: what is left of it is handed out as another one, unless it failed too often.

        A node that is to blame is avoided from now on.
        """
        if is_unseen(reason) and self._shared is not None:
            shared = self._shared
            self._attempt(lambda: shared.avoid(reason))
        left = list(self._running[trial_id].values())
        again = self._retries.again(
            (left[0].member, left[0].segment),
            reason,
            self._reached.get(trial_id, 0),
            # Tune hands trials also to idle processes that have died meanwhile.
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
        """Does something, unless the search is at an end, and keeps what ends it for the driver.

        A full disk ends it too: what is trained from then on would be lost, and is no member's fault.

        Args:
            action: What to do.
            reason: Why a trial failed, where one did.

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
            # It is as long as a horizon: whoever is packed with it would wait for it.
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
        """Frees the slot of a trial; returns what was left of it."""
        self._begun.discard(trial_id)
        self._reached.pop(trial_id, None)
        return self._running.pop(trial_id)

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
    """Tells the scheduler when a trial begins and why it fails: searchers only hear that it does."""

    def __init__(self, scheduler: SegmentScheduler) -> None:
        self._scheduler = scheduler

    @override
    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """After `Searcher.on_trial_complete`."""
        self._scheduler.take_failure(trial.trial_id, _reason(trial))

    @override
    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Also when a process is used again."""
        self._scheduler.note_start(trial.trial_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _snapshots(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a trial's result says to be on disk: of a pack's members, or of the one that it trains."""
    if MEMBERS in result:
        return [m["snapshot"] for m in json.loads(result[MEMBERS]) if m.get("snapshot")]
    return [json.loads(result["snapshot"])] if result.get("snapshot") else []


def _reason(trial: Trial) -> str:
    # The file lies in Ray's own folder; Tune brings it to the results folder only later.
    written = Path(trial.error_file) if trial.error_file else None
    if written is None or not written.is_file():
        return reason_of(str(trial.get_error() or ""))
    return reason_of(written.read_text().rpartition("Failure # ")[2])


class UntilOver(Stopper):
    """Ends a trial when its segments are over, and all of them at once when the search cannot go on.

    Args:
        scheduler: Knows whether it can.
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
    """The name of a trial and its folder: its segment's, or its first one's and how many more."""
    first, *others = segments_of(trial.config)
    name = segment_name(first.member, first.segment)
    return f"{name}-and-{len(others)}" if others else name
