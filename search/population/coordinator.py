"""The coordinator of a search: population, Optuna study and archive in one hand.

`decide` says which segment is to be trained next; `tell` takes what came of it. It is the archive's
only writer, and what it decides is in `events.jsonl` before it is carried out. It neither trains nor
knows who does. Made on the archive of a search that ended too early, it goes on where that one was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.pruning.errors import RunError
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.config.space import Values
from search.population.baselines import check_dense, dense_baseline, dense_segment, least_return
from search.population.kept import KeptSnapshots
from search.population.member import MOST_FAILURES, Member, segment_end
from search.population.progress import Progress
from search.population.recovery import REVIVED, Past, Running, note_clock, note_lost, replay
from search.population.removal import Removal
from search.population.spending import Spending
from search.population.strategies import strategy_of
from search.population.strategies.base import objective_values
from search.population.study import NO_TRIAL, Study
from search.store.archive import Archive, Snapshot
from search.store.deletion import Trash


class Coordinator:
    """Decides what is trained next and keeps what came of it.

    Args:
        config: The experiment.
        archive: Of its results folder.
        study: Of its results folder.
        floor: Mean return that a policy must exceed to be feasible: the better of a random and the
            best constant policy.
        clock: Seconds since some moment.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        archive: Archive,
        study: Study,
        floor: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._archive = archive
        self._study = study
        self._floor = floor
        past = replay(archive, config.population.members)
        self._members = past.members
        self._running: dict[int, Running] = {}
        self._lost = past.lost
        trash = Trash(archive.folder)
        self._kept = KeptSnapshots(
            archive, past.snapshots, config.evaluation.candidates, floor, trash.take
        )
        self._failures = past.failures
        # The trial of a segment whose end is being written.
        self._ending = NO_TRIAL
        self._needs_dense = "dense" not in archive.baselines()
        # Those of other baselines are no times of the search.
        dense = [b.wall_time for name, b in archive.baselines().items() if name == "dense"]
        earlier = [*(s.wall_time for s in past.snapshots), *dense]
        self._spending = Spending(config, past, max(earlier, default=0.0), clock)
        self._segment_steps = config.segment_steps
        self._strategy = strategy_of(config, archive, study)
        self._removal = Removal(
            archive.folder, trash, self._strategy, self._kept, self._segment_steps
        )
        self._recover(past)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train, now or later."""
        # Asked after every result: while anything runs, nobody need be looked for.
        if self._running or self._needs_dense:
            return False
        return not (self._lost and self._left() > 0) and self._next_member() is None

    @property
    def progress(self) -> Progress:
        """How far the search is."""
        return Progress(
            env_steps=self._spending.training,
            budget=self._config.budget.env_steps,
            running=len(self._running),
            members=len(self._members),
            snapshots=self._kept.count,
            best_return=self._kept.so_far.best,
            sparsest_good=self._kept.so_far.sparsest_good,
            failures=len(self._failures),
            before=self._spending.before,
            seconds_left=self.seconds_left,
        )

    @property
    def seconds_left(self) -> float:
        """Of a budget in seconds; infinite without one."""
        return self._spending.seconds_left

    @property
    def spent(self) -> dict[str, int]:
        """Env steps, as `Spending.by_purpose`."""
        return self._spending.by_purpose()

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Segments that failed, with the reason."""
        return list(self._failures)

    def decide(self) -> Segment | None:
        """The segment to train next; None: nothing now."""
        if self._needs_dense:
            self._needs_dense = False
            return self._launch(dense_segment(self._config), {}, None)
        if self._lost and self._left() > 0:
            return self._repeat(self._lost.pop(0))
        member = self._next_member()
        return None if member is None else self._start(member)

    def tell(
        self, segment: Segment, result: Mapping[str, Any], snapshot: Mapping[str, Any] | None
    ) -> None:
        """Takes the result of one training iteration.

        Args:
            segment: What is being trained.
            result: With "env_steps", "env_steps_this_iter" and, where it was evaluated,
                "evaluation_env_steps".
            snapshot: A `Snapshot`'s values but for hyperparameters and wall time, its policy on disk;
                None: the iteration was not evaluated.
        """
        self._spending.book(segment.member, result)
        running = self._running[segment.member]
        running.env_steps = int(result["env_steps"])
        if segment.member == DENSE:
            note_clock(self._archive, "dense", running, result)
        if snapshot is None:
            return
        running.last = running.snapshot(snapshot, self._spending.seconds, self._floor)
        if segment.member == DENSE:
            # Nobody goes on from it.
            self._removal.remove_state(running.last)
        elif self._archive.add_snapshot(running.last):
            self._kept.add(running.last)
            self._strategy.add(running.last)
        else:
            note_clock(self._archive, "repeat", running, result)
            self._strategy.add(self._kept.take_repeated(running.last))
        if not running.last.usable:
            self._removal.remove_state(running.last)

    def note_retry(self, segment: Segment, error: str) -> None:
        """Takes note that a segment failed and is trained again from its start."""
        running = self._running[segment.member]
        # Set back first: interrupted while the event is synced, `close` would count it once more.
        reached, running.env_steps = running.env_steps, running.start
        self._archive.add_event(
            "retry",
            member=segment.member,
            segment=segment.segment,
            env_steps=reached,
            error=error,
        )

    def end(self, segment: Segment, error: str = "") -> None:
        """Takes note that a segment is over.

        Args:
            segment: The segment that ended.
            error: Why it failed; "" where it was trained to its end.

        Raises:
            RunError: The dense baseline failed, or every member does, segment after segment.
        """
        running = self._running.pop(segment.member)
        last = running.last
        if not error and (last is None or not last.usable):
            error = "the policy or its return is not finite"
        if segment.member == DENSE and last is not None and not error:
            self._archive.add_baseline(dense_baseline(last, self._spending.baselines))
            self._require_return()
        self._ending = segment.trial_number
        self._archive.add_event(
            "failure" if error else "end",
            member=segment.member,
            segment=segment.segment,
            env_steps=running.env_steps,
            **({"error": error} if error else {}),
        )
        if error:
            self._failures.append(
                {"member": segment.member, "segment": segment.segment, "error": error}
            )
        if segment.member == DENSE:
            check_dense(error)
            return
        member = self._members[segment.member]
        if error or last is None:
            member.fail()
            self._study.tell(segment.trial_number, None)
            self._fail_if_all_do(error)
            return
        if self._strategy.ends_trial(last) or self._left() <= 0:
            self._study.tell(segment.trial_number, self._objectives(last))
        self._ending = NO_TRIAL
        member.go_on(running.hyperparameters, running.source, last)
        self._removal.remove_old(self._members, self._running, self._lost)

    def close(self) -> None:
        """Marks what is still running as lost: a search that goes on will repeat it."""
        with contextlib.suppress(OSError):
            note_lost(self._archive, self._running.values())
        self._removal.close()
        # Interrupted in `end`, it may have ended well: the next process reads whether.
        self._study.close(but=self._ending)

    def _recover(self, past: Past) -> None:
        """Takes over from a search that ended too early; nothing to do for a new one."""
        whole = {n: s for n, s in past.ended.items() if self._strategy.ends_trial(s)}
        self._study.recover({number: self._objectives(s) for number, s in whole.items()})
        self._require_return()
        note_lost(self._archive, past.unclosed)
        for snapshot in past.snapshots:
            self._strategy.add(snapshot)
        if all(m.given_up for m in self._members):
            # Whoever resumes has mended what let all of them fail.
            self._archive.add_event(REVIVED)
            for member in self._members:
                member.revive()
        self._removal.remove_old(self._members, self._running, self._lost)

    def _repeat(self, lost: Running) -> Segment:
        """Trains a lost segment again, as it was planned."""
        clock, plan = lost.start, lost.segment
        told = plan.trial_number != NO_TRIAL
        number = self._study.enter(lost.hyperparameters).trial_number if told else NO_TRIAL
        segment = dataclasses.replace(
            plan,
            trial_number=number,
            until_env_steps=min(plan.until_env_steps, clock + self._left()),
        )
        self._members[plan.member].env_steps = clock
        return self._launch(segment, lost.hyperparameters, lost.source)

    def _next_member(self) -> Member | None:
        left = self._left()
        if left <= 0:
            return None
        idle = [m for m in self._members if m.index not in self._running and not m.given_up]
        running = [self._members[index] for index in self._running if index != DENSE]
        return self._strategy.next_member(idle, running, left)

    def _left(self) -> int:
        return self._spending.left(self._running.values())

    def _start(self, member: Member) -> Segment:
        plan = self._strategy.plan(member)
        source, proposal = plan.source, plan.proposal
        clock = member.env_steps = source.env_steps if source else 0
        end = segment_end(self._segment_steps, plan.horizon, clock)
        seed = self._config.seed
        segment = Segment(
            member=member.index,
            segment=member.segment,
            trial_number=proposal.trial_number,
            seed=draw(seed, "training", 1, member.index, member.segment)[0],
            pruning=plan.pruning.to_dict(),
            training=self._config.training_with(proposal.values),
            until_env_steps=min(end, clock + self._left()),
            # The same for all members within a segment of the clock, others in the next.
            evaluation_seeds=draw(
                seed, "search", self._config.evaluation.episodes, -(-end // self._segment_steps)
            ),
            state=source.state if source else "",
            parent=source.snapshot_id if source else "",
        )
        return self._launch(segment, proposal.values, source)

    def _launch(
        self, segment: Segment, hyperparameters: Values, source: Snapshot | None
    ) -> Segment:
        clock = source.env_steps if source else 0
        self._study.describe(
            segment.trial_number,
            member=segment.member,
            segment=segment.segment,
            parent=segment.parent,
            env_steps=clock,
        )
        self._archive.add_event(
            "start",
            member=segment.member,
            segment=segment.segment,
            env_steps=clock,
            hyperparameters=hyperparameters,
            plan=segment.to_dict(),
        )
        self._running[segment.member] = Running(segment, hyperparameters, source, clock)
        return segment

    def _objectives(self, last: Snapshot) -> tuple[float, ...]:
        return objective_values(last, self._config.search.objectives)

    def _require_return(self) -> None:
        baselines = self._archive.baselines()
        self._strategy.require(least_return(self._config, baselines, self._floor))

    def _fail_if_all_do(self, error: str) -> None:
        if all(m.given_up for m in self._members):
            raise RunError(
                f"every member failed {MOST_FAILURES} segments in a row; the last: {error}. See "
                "error.txt in the folders of tune/."
            )
