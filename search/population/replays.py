"""The recipe check: chosen front points' whole lineages, replayed on fresh seeds.

A replay is a member that passes its point's stages one after another, from a fresh policy. What it has
done is in an archive of its own under `retrain/`, so that an interrupted check goes on where it was.
Imports neither Ray nor torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rllib_ext.member.segment import Segment, segment_name
from rllib_ext.pruning.errors import ConfigError, ResultsError, RunError
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.front.confirmed_front import UNCONFIRMED, Front
from search.front.lineage import Plans, Stage, lineage
from search.population.progress import BestSoFar, Progress
from search.store.archive import Archive, Snapshot
from search.store.deletion import remove, tidy
from search.store.recipe_archive import replays_by_member

PICKS = ("goal", "knee", "keeps_95", "keeps_99")
ALL = "all"
# Tells the seeds of training from those of the evaluations that patience waits for.
TRAINING, EVALUATION = 0, 1


@dataclasses.dataclass(frozen=True)
class Replay:
    """One recipe on one seed.

    Attributes:
        member: Number of the replay in the archive of the recipe check.
        point: `snapshot_id` of the front point whose recipe it is.
        index: Index of the seed among the point's seeds, from 0.
        stages: The recipe.
    """

    member: int
    point: str
    index: int
    stages: tuple[Stage, ...]

    @property
    def env_steps(self) -> int:
        """Env steps of the whole recipe."""
        return self.stages[-1].stop


def chosen_points(front: Front, wanted: Iterable[str]) -> list[str]:
    """Front points by their id or by what they are picked as, each once, the densest first.

    Args:
        front: The front.
        wanted: Ids, "goal", "knee", "keeps_95", "keeps_99", or "all". A pick that no point is marked
            as is passed over, unless nothing else is asked for.

    Raises:
        ResultsError: There is no front.
        ConfigError: An id is not on the front, or no point is left.
    """
    if not len(front.table):
        raise ResultsError(front.notes[0] if front.notes else UNCONFIRMED)
    ids = [str(i) for i in front.table["snapshot_id"]]
    asked = list(wanted)
    found: set[str] = set()
    for name in asked:
        if name == ALL:
            found |= set(ids)
        elif name in PICKS:
            found |= {front.pick(name)} - {""}
        elif name in ids:
            found.add(name)
        else:
            raise ConfigError(
                f"--points: {name!r} is not on the front. Expected {', '.join(PICKS)}, {ALL}, or of "
                f"{', '.join(ids)}."
            )
    if not found:
        raise ConfigError(
            f"--points: no front point is marked as {' or '.join(asked) or 'anything'}. Name points, "
            f"or {ALL}: {', '.join(ids)}."
        )
    return [i for i in ids if i in found]


def plan_replays(
    archive: Archive,
    snapshots: Sequence[Snapshot],
    plans: Plans,
    points: Sequence[str],
    seeds: int,
) -> list[Replay]:
    """The replays to be done, noted in the archive; those that it knows keep their number.

    Args:
        archive: The recipe check's archive.
        snapshots: The search's snapshots.
        plans: The plans of its segments.
        points: `snapshot_id` of the chosen points.
        seeds: Replays of each.

    Raises:
        ResultsError: The lineage of a point isn't in the search's archive.
    """
    by_id = {s.snapshot_id: s for s in snapshots}
    recipes = {point: lineage(by_id[point], by_id, plans) for point in points}
    numbers = replays_by_member(archive)
    known = {key: member for member, key in numbers.items()}
    found = []
    for index in range(seeds):
        for point in points:
            member = known.get((point, index))
            if member is None:
                member = known[point, index] = len(known)
                archive.add_event("replay", member=member, point=point, index=index)
            found.append(Replay(member, point, index, recipes[point]))
    return found


class Replays:
    """Hands out the stages of replays and keeps their results.

    It answers as a search's `Coordinator` does, so that the same scheduler carries it out. What is in
    the archive is not handed out again.

    Args:
        config: The search's experiment.
        archive: The recipe check's archive; only this writes to it.
        replays: Replays to train.
        by_id: The search's archive: the seeds derive from what stands there.
        floor: Mean return that a policy must exceed to count as good.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        archive: Archive,
        replays: Sequence[Replay],
        by_id: Mapping[str, Snapshot],
        floor: float,
    ) -> None:
        self._config = config
        self._archive = archive
        self._replays = {r.member: r for r in replays}
        self._points = {r.point: by_id[r.point] for r in replays}
        self._started = time.monotonic()
        tidy(archive)
        self._last = _ends(archive, self._replays)
        self._clock = {m: self._last[m].env_steps if m in self._last else 0 for m in self._replays}
        self._before = sum(self._clock.values())
        self._running: dict[int, tuple[Segment, Snapshot | None]] = {}
        self._failed: dict[int, str] = {}
        self._snapshots = len(self._last)
        self._best = BestSoFar(self._last.values(), floor)
        self.spent = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not self._running and not self._ready()

    @property
    def replays(self) -> list[Replay]:
        """All that is asked for."""
        return list(self._replays.values())

    @property
    def done(self) -> dict[int, Snapshot]:
        """The last snapshot of each replay that has passed its whole recipe, by its number."""
        return {m: s for m, s in self._last.items() if s.env_steps >= self._replays[m].env_steps}

    @property
    def progress(self) -> Progress:
        """The progress of the recipe check."""
        return Progress(
            env_steps=sum(self._clock.values()),
            budget=sum(r.env_steps for r in self._replays.values()),
            running=len(self._running),
            members=len(self._replays),
            snapshots=self._snapshots,
            best_return=self._best.best,
            sparsest_good=self._best.sparsest_good,
            failures=len(self._failed),
            before=self._before,
        )

    def decide(self) -> Segment | None:
        """The next stage of the replay that is furthest behind; None: nothing now."""
        ready = self._ready()
        if not ready:
            return None
        replay = self._replays[min(ready, key=lambda m: (self._clock[m], m))]
        last = self._last.get(replay.member)
        number = sum(stage.stop <= (last.env_steps if last else 0) for stage in replay.stages)
        stage = replay.stages[number]
        segment = Segment(
            member=replay.member,
            segment=number,
            trial_number=-1,
            seed=self._draw(TRAINING, 1, replay, number)[0],
            pruning=dict(stage.pruning),
            training=dict(stage.training),
            until_env_steps=stage.stop,
            evaluation_seeds=self._draw(
                EVALUATION, self._config.evaluation.episodes, replay, number
            ),
            state=last.state if last else "",
            parent=last.snapshot_id if last else "",
        )
        self._running[replay.member] = segment, None
        return segment

    def tell(
        self, segment: Segment, result: Mapping[str, Any], snapshot: Mapping[str, Any] | None
    ) -> None:
        """Takes the result of one training iteration, as `Coordinator.tell`."""
        self.spent += int(result["env_steps_this_iter"])
        self._clock[segment.member] = int(result["env_steps"])
        if snapshot is None:
            return
        _, before = self._running[segment.member]
        if before is not None:
            self._drop(before)
        stage = self._replays[segment.member].stages[segment.segment]
        found = Snapshot.from_json(
            {
                **snapshot,
                "wall_time": time.monotonic() - self._started,
                "hyperparameters": stage.hyperparameters,
            }
        )
        self._running[segment.member] = segment, found

    def note_retry(self, segment: Segment, error: str) -> None:
        """Takes note that a stage failed and is trained again from its start."""
        self._archive.add_event(
            "retry", member=segment.member, segment=segment.segment, error=error
        )
        _, half_way = self._running[segment.member]
        if half_way is not None:
            self._drop(half_way)
        self._running[segment.member] = segment, None

    def end(self, segment: Segment, error: str = "") -> None:
        """Takes note that a stage is over.

        Args:
            segment: The segment that ended.
            error: Why it failed; "" where it was trained to its end.

        Raises:
            RunError: Every replay has failed.
        """
        _, last = self._running.pop(segment.member)
        if not error and (last is None or not last.usable):
            error = "the policy or its return is not finite"
        if error or last is None:
            self._failed[segment.member] = error
            self._archive.add_event(
                "failure", member=segment.member, segment=segment.segment, error=error
            )
            if len(self._failed) == len(self._replays):
                raise RunError(
                    f"every replay failed; the last: {error}. See "
                    f"{segment_name(segment.member, segment.segment)}/error.txt in retrain/tune/."
                )
            return
        self._archive.add_snapshot(last)
        before = self._last.get(segment.member)
        self._last[segment.member] = last
        self._snapshots += 1
        self._best.add(last)
        if before is not None:
            self._drop(before)
        if segment.member in self.done:
            remove(self._archive.folder / last.state)

    def _ready(self) -> list[int]:
        busy = {*self._running, *self._failed, *self.done}
        return [m for m in self._replays if m not in busy]

    def _drop(self, snapshot: Snapshot) -> None:
        for folder in (snapshot.checkpoint, snapshot.state):
            remove(self._archive.folder / folder)

    def _draw(self, what: int, count: int, replay: Replay, stage: int) -> tuple[int, ...]:
        point = self._points[replay.point]
        key = (what, point.member, point.segment, point.iteration, replay.index, stage)
        return draw(self._config.seed, "retraining", count, *key)


def _ends(archive: Archive, replays: Mapping[int, Replay]) -> dict[int, Snapshot]:
    """The latest snapshot of each replay that it can go on from, or that ends its recipe."""
    found: dict[int, Snapshot] = {}
    for snapshot in archive.available():
        replay = replays.get(snapshot.member)
        if replay is None or not snapshot.usable or not snapshot.checkpoint:
            continue
        over = snapshot.env_steps >= replay.env_steps
        if snapshot.state or over:
            found[snapshot.member] = snapshot
    return found
