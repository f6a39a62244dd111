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
from search.front.aim import aim_of
from search.population.baselines import check_dense, dense_baseline, dense_segment, least_return
from search.population.events import (
    End,
    Event,
    Failure,
    Iteration,
    Lost,
    Retry,
    Revived,
    Start,
)
from search.population.how_far import how_far, scale_so_far
from search.population.member import MOST_FAILURES, Member, segment_end
from search.population.progress import BestSoFar, Progress
from search.population.recovery import replay
from search.population.removal import Removal
from search.population.spending import Spending
from search.population.state import Running
from search.population.strategies import STRATEGIES
from search.population.strategies.base import objective_values
from search.population.study import NO_TRIAL, Study
from search.store.archive import Archive, Snapshot


class Coordinator:
    """Decides what is trained next and keeps what came of it.

    Args:
        config: The experiment.
        archive: The archive in its results folder.
        study: The Optuna study in its results folder.
        floor: Mean return that a policy must exceed to be feasible: the better of a random and the
            best constant policy.
        clock: Seconds since some moment.
        weights: Prunable weights of the policy path, which a goal's are a share of; 0: not known
            before there is a policy.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        archive: Archive,
        study: Study,
        floor: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        weights: int = 0,
    ) -> None:
        self._config = config
        self._archive = archive
        self._study = study
        self._floor = floor
        self._weights = weights
        self._state = replay(archive, config.population.members, floor)
        # Whether a record is being written: interrupted, only the file knows whether it is there.
        self._writing = False
        # The trial of a segment whose end is being written.
        self._ending = NO_TRIAL
        # Those of other baselines are no times of the search.
        self._baseline = archive.baselines().get("dense")
        self._scale = scale_so_far(archive.baselines(), floor)
        dense = self._baseline.wall_time if self._baseline else 0.0
        # The last snapshot of the dense baseline; nobody goes on from it.
        self._dense: Snapshot | None = None
        self._before = self._state.spent["training"]
        self._spending = Spending(config, max(self._state.seconds, dense), clock)
        self._segment_steps = config.segment_steps
        strategy = STRATEGIES[config.search.strategy]
        self._strategy = strategy(config, archive, study, self._state.snapshots)
        self._removal = Removal(config, archive, self._strategy, floor)
        self._recover()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train, now or later."""
        # Asked after every result: while anything runs, nobody need be looked for.
        if self._state.running or self._needs_dense:
            return False
        return not (self._state.lost and self._left() > 0) and self._next_member() is None

    @property
    def progress(self) -> Progress:
        """The progress of the search."""
        return how_far(
            self._state, self._config.budget.env_steps, self._scale,
            before=self._before, seconds_left=self.seconds_left,
        )  # fmt: skip

    @property
    def seconds_left(self) -> float:
        """Seconds left of the budget; infinite without one."""
        return self._spending.seconds_left

    @property
    def spent(self) -> dict[str, int]:
        """Env steps, as `State.spent`."""
        return self._state.spent

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Segments that failed, with the reason."""
        return list(self._state.failures)

    def decide(self) -> Segment | None:
        """The segment to train next; None: nothing now."""
        if self._needs_dense:
            return self._launch(dense_segment(self._config), {}, 0)
        if self._state.lost and self._left() > 0:
            return self._repeat(next(iter(self._state.lost.values())))
        member = self._next_member()
        return None if member is None else self._start(member)

    def tell(
        self, segment: Segment, result: Mapping[str, Any], snapshot: Mapping[str, Any] | None
    ) -> None:
        """Records the result of one training iteration.

        Args:
            segment: Segment that is being trained.
            result: With "env_steps" and, where it was evaluated, "evaluation_env_steps".
            snapshot: A `Snapshot`'s values but for hyperparameters and wall time, its policy on disk;
                None: the iteration was not evaluated.
        """
        running = self._state.running[segment.member]
        running.heard = int(result["env_steps"])
        made = None if snapshot is None else self._snapshot(running, snapshot)
        evaluation = int(result.get("evaluation_env_steps", 0))
        if segment.member == DENSE:
            self._take(Iteration(**running.at, evaluation_env_steps=evaluation))
            self._dense = made or self._dense
        elif made is not None:
            known = self._state.snapshots.get(made.snapshot_id)
            if known is None:
                self._take(made)
            else:
                self._take(Iteration(**running.at, evaluation_env_steps=evaluation))
                self._correct(known, made)
        if made is not None and (segment.member == DENSE or not made.usable):
            self._removal.remove_state(made)

    def note_retry(self, segment: Segment, error: str) -> None:
        """Takes note that a segment failed and is trained again from its start."""
        self._take(Retry(**self._state.running[segment.member].at, error=error))

    def end(self, segment: Segment, error: str = "") -> None:
        """Takes note that a segment is over.

        Args:
            segment: The segment that ended.
            error: Why it failed; "" where it was trained to its end.

        Raises:
            RunError: The dense baseline failed, or every member does, segment after segment.
        """
        running = self._state.running[segment.member]
        last = self._dense if segment.member == DENSE else running.last
        if not error and (last is None or not last.usable):
            error = "the policy or its return is not finite"
        if segment.member == DENSE and last is not None and not error:
            self._baseline = dense_baseline(last, self.spent["baselines"])
            self._archive.add_baseline(self._baseline)
            self._scale = scale_so_far(self._archive.baselines(), self._floor)
            self._require_return()
        self._ending = segment.trial_number
        self._take(Failure(**running.at, error=error) if error else End(**running.at))
        if segment.member == DENSE:
            check_dense(error)
            return
        if error or last is None:
            self._study.tell(segment.trial_number, None)
            self._fail_if_all_do(error)
            return
        if self._strategy.ends_trial(last) or self._left() <= 0:
            self._study.tell(segment.trial_number, self._objectives(last))
        self._ending = NO_TRIAL
        self._removal.remove_old(self._state)

    def close(self) -> None:
        """Marks what is still running as lost: a search that goes on will repeat it."""
        with contextlib.suppress(OSError):
            if self._writing:
                self._state = replay(self._archive, self._config.population.members, self._floor)
            self._lose_running()
        self._removal.close()
        # Interrupted in `end`, it may have ended well: the next process reads whether.
        self._study.close(but=self._ending)

    def _take(self, record: Event | Snapshot) -> None:
        """Appends what happened to the log, then lets it count."""
        self._writing = True
        if isinstance(record, Snapshot):
            self._archive.add_snapshot(record)
        else:
            self._archive.add_event(record.kind, **vars(record))
        self._state.apply(record)
        self._writing = False

    def _recover(self) -> None:
        """Takes over from a search that ended too early; nothing to do for a new one."""
        state = self._state
        ended = [] if state.ended is None else [state.ended]
        whole = {n: self._objectives(s) for n, s in ended if self._strategy.ends_trial(s)}
        self._study.recover(whole)
        self._require_return()
        self._lose_running()
        state.leave_out_gone(self._archive.on_disk())
        if all(m.given_up for m in state.members):
            # Whoever resumes has mended what let all of them fail.
            self._take(Revived())
        self._removal.remove_old(state)

    def _lose_running(self) -> None:
        for running in list(self._state.running.values()):
            self._take(Lost(**running.at))

    def _snapshot(self, running: Running, values: Mapping[str, Any]) -> Snapshot:
        """Returns the result of a segment as a snapshot."""
        # The same for all of a segment: thousands of donors are held in memory.
        more = {"wall_time": self._spending.seconds, "hyperparameters": running.hyperparameters}
        found = Snapshot.from_json({**values, **more})
        if found.usable and found.return_mean <= self._floor:
            return dataclasses.replace(found, status="infeasible")
        return found

    def _correct(self, known: Snapshot, made: Snapshot) -> None:
        """A repeated segment makes the same snapshots; where it doesn't, the new policy counts."""
        if (known.returns, known.nonzero_params) != (made.returns, made.nonzero_params):
            self._take(made)
            self._state.so_far = BestSoFar(self._archive.snapshots(), self._floor)

    def _repeat(self, lost: Running) -> Segment:
        """Trains a lost segment again, as it was planned."""
        plan = lost.segment
        told = plan.trial_number != NO_TRIAL
        number = self._study.enter(lost.hyperparameters).trial_number if told else NO_TRIAL
        segment = dataclasses.replace(
            plan,
            trial_number=number,
            until_env_steps=min(plan.until_env_steps, lost.start + self._left()),
        )
        return self._launch(segment, lost.hyperparameters, lost.start)

    @property
    def _needs_dense(self) -> bool:
        return self._baseline is None and DENSE not in self._state.running

    def _next_member(self) -> Member | None:
        left = self._left()
        if left <= 0:
            return None
        members, busy = self._state.members, self._state.running
        idle = [m for m in members if m.index not in busy and not m.given_up]
        running = [members[index] for index in busy if index != DENSE]
        return self._strategy.next_member(idle, running, left)

    def _left(self) -> int:
        return self._spending.left(self._state)

    def _start(self, member: Member) -> Segment:
        plan = self._strategy.plan(member)
        source, proposal = plan.source, plan.proposal
        clock = source.env_steps if source else 0
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
        return self._launch(segment, proposal.values, clock)

    def _launch(self, segment: Segment, hyperparameters: Values, clock: int) -> Segment:
        self._study.describe(
            segment.trial_number,
            member=segment.member,
            segment=segment.segment,
            parent=segment.parent,
            env_steps=clock,
        )
        start = Start(
            member=segment.member,
            segment=segment.segment,
            env_steps=clock,
            hyperparameters=hyperparameters,
            plan=segment.to_dict(),
        )
        self._take(start)
        return segment

    def _objectives(self, last: Snapshot) -> tuple[float, ...]:
        return objective_values(last, self._config.search.objectives)

    def _require_return(self) -> None:
        baselines = self._archive.baselines()
        self._strategy.require(least_return(self._config, baselines, self._floor))
        self._strategy.aim_at(aim_of(self._config.goal, baselines, self._floor, self._weights))

    def _fail_if_all_do(self, error: str) -> None:
        if all(m.given_up for m in self._state.members):
            raise RunError(
                f"every member failed {MOST_FAILURES} segments in a row; the last: {error}. See "
                "error.txt in the folders of tune/."
            )
