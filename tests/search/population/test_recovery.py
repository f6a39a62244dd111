"""Searches that are killed while they write: what goes on is the search that was interrupted."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState
from pretended_search import STARTS, Search, Trainer, trials_in

import search.store.archive
from rllib_ext.member.segment import DENSE
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import RunError
from search.population.study import Journal
from search.store.archive import Archive
from search.store.deletion import tidy
from search.store.files import write_aside

ITERATION = Trainer.ITERATION
SMALL = {"members": 5, "segments": 3, "env_steps": 36_000, "seed": 3}


class Killed(BaseException):
    """The process is no more."""


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    """A process that is killed loses nothing that it had written."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


class Writes:
    """Counts what is appended to the archive and the study's journal, and kills in one of them.

    Args:
        kill_at: Index of the write that is torn; None: none is.
        rng: Draws how much of it arrives on disk, from nothing to the whole line.
    """

    def __init__(self, kill_at=None, rng=None):
        self.count, self.kill_at, self.rng = 0, kill_at, rng

    @contextlib.contextmanager
    def watched(self):
        append_lines, append_logs = search.store.archive.append_lines, Journal.append_logs

        def lines(path, records, **how):
            self._maybe_kill(path, records)
            append_lines(path, records, **how)

        def logs(backend, values):
            self._maybe_kill(backend._file_path, values)
            append_logs(backend, values)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search.store.archive, "append_lines", lines)
            patch.setattr(Journal, "append_logs", logs)
            yield self

    def _maybe_kill(self, path, records):
        self.count += 1
        if self.count - 1 != self.kill_at:
            return
        text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records).encode()
        with open(path, "ab") as file:
            file.write(text[: self.rng.randint(0, len(text))])
        raise Killed


class Drill:
    """A search that is killed again and again, and resumed.

    Attributes:
        iterations: That were really trained, dead processes' too.
        kills: How often it was killed.
    """

    def __init__(self, folder, slots=1, **options):
        self.folder, self.slots, self.options = folder, slots, {**SMALL, **options}
        self.iterations = self.kills = 0
        self.search = None

    def go(self, writes):
        """Resumes (or begins) and runs until it is killed; returns whether it came to its end."""
        if self.folder.is_dir():
            tidy(Archive(self.folder))
        self.search = None
        try:
            with writes.watched():
                self.search = Search(self.folder, **self.options)
                self.search.run(slots=self.slots)
        except Killed:
            self.kills += 1
            return False
        finally:
            self.iterations += self.search.trainer.iterations if self.search else 0
        return True

    @property
    def counted(self):
        spent = self.search.coordinator.spent
        return spent["training"] + spent["baselines"]

    def check(self):
        """What must hold of every search that was killed and resumed to its end."""
        uncounted = self.iterations * ITERATION - self.counted
        assert 0 <= uncounted <= ITERATION * self.slots * self.kills
        trained = self.search.coordinator.spent["training"]
        budget, members = self.options["env_steps"], self.options["members"]
        assert budget <= trained <= budget + members * ITERATION
        lines = (self.folder / "snapshots.jsonl").read_text().splitlines()
        ids = [json.loads(line)["snapshot_id"] for line in lines]
        assert len(set(ids)) == len(ids)
        known = {s.snapshot_id: s for s in self.search.archive.snapshots()}
        assert all((self.folder / s.checkpoint).is_dir() for s in known.values())
        for snapshot in known.values():
            assert not snapshot.parent or known[snapshot.parent].env_steps < snapshot.env_steps
        assert TrialState.RUNNING not in {t.state for t in trials_in(self.folder)}
        assert TrialState.WAITING not in {t.state for t in trials_in(self.folder)}


def told(search):
    """What a search made, but for times and the numbers of repeated trials."""
    return [
        {**vars(s), "wall_time": 0.0, "trial_number": 0, "state": ""}
        for s in search.archive.snapshots()
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The search that nobody killed, and how often it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        drill, writes = Drill(tmp_path_factory.mktemp("whole") / "s"), Writes()
        assert drill.go(writes)
        drill.check()
        return drill.search, writes.count


@pytest.mark.parametrize("first", range(6))
def test_killed_at_any_write_a_search_goes_on_as_if_it_had_not_been(tmp_path, whole, first):
    expected, count = told(whole[0]), whole[1]
    assert any(e["event"] == "exploit" for e in whole[0].archive.events())
    rng = random.Random(first)
    for kill_at in range(7 * first, count, 42):
        folder = tmp_path / str(kill_at)
        drill = Drill(folder)
        assert not drill.go(Writes(kill_at, rng))
        assert drill.go(Writes())
        drill.check()
        made = told(drill.search)
        # What was trained twice is missing at the end.
        assert made == expected[: len(made)], kill_at
        assert len(expected) - len(made) <= 4
        shutil.rmtree(folder)


def test_a_killed_search_of_starts_goes_on_as_if_it_had_not_been(tmp_path):
    options, writes = {"search": {"space": STARTS}}, Writes()
    whole = Drill(tmp_path / "whole", **options)
    assert whole.go(writes)
    expected = told(whole.search)
    starts = {s["hyperparameters"]["pruning.start"] for s in expected}
    assert starts == {"dense", "narrow", "sparse"}
    rng = random.Random(1)
    for kill_at in range(11, writes.count, writes.count // 5):
        drill = Drill(tmp_path / str(kill_at), **options)
        assert not drill.go(Writes(kill_at, rng))
        assert drill.go(Writes())
        drill.check()
        made = told(drill.search)
        assert made == expected[: len(made)], kill_at
        assert len(expected) - len(made) <= 4


@pytest.mark.parametrize("slots", [1, 3])
def test_twenty_kills_in_one_search(tmp_path, slots):
    drill = Drill(tmp_path / "s", slots, env_steps=300_000, segments=10)
    rng = random.Random(slots)
    while drill.kills < 20:
        assert not drill.go(Writes(rng.randint(1, 50), rng))
    assert drill.go(Writes())
    drill.check()
    known = {(s.member, s.segment) for s in drill.search.archive.snapshots()}
    for member in range(5):
        segments = sorted(segment for m, segment in known if m == member)
        assert segments == list(range(len(segments))) != []


def test_failures_and_retries_are_remembered(tmp_path):
    fails = {(1, 1): "raise", (2, 0): "nan"}
    first = Search(tmp_path, fails=lambda s: fails.get((s.member, s.segment), ""), **SMALL)
    first.run()
    again = Search(tmp_path, **SMALL)
    assert again.coordinator.finished
    assert again.coordinator.failures == first.coordinator.failures
    assert len(again.coordinator.failures) == 2
    assert again.coordinator.spent == first.coordinator.spent
    assert again.coordinator._state.members == first.coordinator._state.members


def test_an_interrupted_search_counts_to_the_iteration_and_loses_no_step_of_the_count(tmp_path):
    """Interrupted, not killed: what was trained since the last snapshot is told."""
    first = Search(tmp_path, **SMALL)
    running = first.begin(3)
    for segment, iterations in running:
        result, _ = next(iterations)
        result["evaluation_env_steps"] = 0
        first.coordinator.tell(segment, result, None)
    first.coordinator.close()
    assert first.coordinator.spent["training"] == 3 * ITERATION
    again = Search(tmp_path, **SMALL)
    assert again.coordinator.spent == first.coordinator.spent
    repeated = [again.coordinator.decide() for _ in range(3)]
    for one, (other, _) in zip(repeated, running, strict=True):
        assert PruningConfig.from_dict(one.pruning) == PruningConfig.from_dict(other.pruning)
        same = {"trial_number": 0, "pruning": {}}
        assert dataclasses.replace(one, **same) == dataclasses.replace(other, **same)


def test_a_retried_segment_counts_in_the_next_process_too(tmp_path):
    first = Search(tmp_path, **SMALL)
    ((segment, iterations),) = first.begin(1)
    first.coordinator.tell(segment, *next(iterations))
    first.coordinator.note_retry(segment, "a worker died")
    # It comes as far again, and is killed there.
    first.coordinator.tell(segment, *next(first.trainer.train(segment)))
    again = Search(tmp_path, **SMALL)
    assert again.coordinator.spent == first.coordinator.spent
    assert again.coordinator.spent["training"] == 2 * ITERATION
    assert Search(tmp_path, **SMALL).coordinator.spent == first.coordinator.spent


def test_a_repeated_segment_that_comes_out_differently_is_what_the_archive_says(tmp_path):
    """The policy on disk is the new one."""
    first = Search(tmp_path, **SMALL)
    ((segment, iterations),) = first.begin(1)
    result, snapshot = next(iterations)
    first.coordinator.tell(segment, result, snapshot)
    again = Search(tmp_path, **SMALL)
    segment = again.coordinator.decide()
    changed = {**snapshot, "return_mean": 77.0, "returns": [77.0, 77.0]}
    again.coordinator.tell(segment, result, changed)
    assert [s.return_mean for s in again.archive.snapshots()] == [77.0]
    assert again.coordinator.progress.best_return == 77.0


def test_a_member_whose_state_is_gone_is_born_again(tmp_path):
    first = Search(tmp_path, **{**SMALL, "strategy": "random"})
    ((segment, iterations),) = first.begin(1)
    for each in iterations:
        first.coordinator.tell(segment, *each)
    first.coordinator.end(segment)
    shutil.rmtree(tmp_path / "states")
    again = Search(tmp_path, **{**SMALL, "strategy": "random"}).run()
    own = [s for s in again.of_members if s.member == segment.member]
    assert (own[0].segment, own[0].state, own[0].parent) == (1, "", "")
    assert again.coordinator.spent["training"] >= SMALL["env_steps"]


def test_after_all_members_failed_a_resumed_search_tries_again(tmp_path):
    """As when a full disk was freed."""
    first = Search(tmp_path, fails=lambda s: "" if s.member == DENSE else "raise", **SMALL)
    with contextlib.suppress(search.store.archive.ResultsError, Exception):
        first.run()
    assert len(first.coordinator.failures) == 15
    again = Search(tmp_path, **SMALL).run()
    assert again.coordinator.spent["training"] >= SMALL["env_steps"]
    assert len(again.archive.snapshots()) > 15


def test_a_finished_search_is_extended_under_the_same_horizon(tmp_path):
    first = Search(tmp_path, **SMALL).run()
    horizon, before = first.config.horizon, told(first)
    longer = {**SMALL, "budget": {"env_steps": 60_000, "horizon": horizon}}
    assert Search(tmp_path, **SMALL).coordinator.finished
    again = Search(tmp_path, **longer)
    assert not again.coordinator.finished
    again.run()
    assert again.config.horizon == horizon
    assert 60_000 <= again.coordinator.spent["training"] <= 60_000 + 5 * ITERATION
    made = told(again)
    assert made[: len(before)] == before
    assert len(made) == 60
    assert max(s.env_steps for s in again.archive.snapshots()) <= horizon + ITERATION


def test_dead_members_states_and_half_written_folders_go(tmp_path, monkeypatch):
    first = Search(tmp_path, **SMALL)
    ((segment, iterations),) = first.begin(1)
    first.coordinator.tell(segment, *next(iterations))
    next(iterations)
    for kind in ("policies", "states"):
        (tmp_path / kind / "m00-s000-i0009.part").mkdir()

    def die(aside):
        aside.write_text("{")
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        raise Killed

    with pytest.raises(Killed):
        write_aside(tmp_path / "manifest.json", die)
    monkeypatch.undo()
    assert list(tmp_path.glob("*.part*"))
    tidy(first.archive)
    told_of = {s.snapshot_id for s in first.archive.snapshots()}
    dense = Archive(tmp_path).baselines()["dense"].checkpoint
    assert {p.name for p in (tmp_path / "states").iterdir()} == told_of
    policies = {f"policies/{p.name}" for p in (tmp_path / "policies").iterdir()}
    assert policies == {f"policies/{name}" for name in told_of} | {dense}
    assert not list(tmp_path.glob("*.part*"))


def test_a_policy_that_is_gone_is_no_candidate(tmp_path):
    from search.front.pareto import candidates

    first = Search(tmp_path, **SMALL).run()
    before = candidates(first.archive.available(), 4)
    shutil.rmtree(tmp_path / before[0].checkpoint)
    after = candidates(first.archive.available(), 4)
    assert before[0].snapshot_id not in {s.snapshot_id for s in after}
    assert len(after) == 4


def test_the_time_that_other_baselines_took_is_not_the_search_s(tmp_path):
    now = [0.0]
    limits = {"budget": {"env_steps": 36_000, "seconds": 60}}
    search = Search(tmp_path, clock=lambda: now[0], **limits)
    search.run(after_each=lambda: now.__setitem__(0, now[0] + 0.1))
    left = search.coordinator.seconds_left
    assert 0 < left < 58
    trained = dataclasses.replace(
        search.archive.baselines()["dense"], name="small_dense-4", wall_time=150.0
    )
    search.archive.add_baseline(trained)
    again = Search(tmp_path, clock=lambda: 1_000.0, **limits)
    assert again.coordinator.seconds_left == pytest.approx(left, abs=0.5)


def test_an_interrupted_resume_after_all_members_failed_leaves_none_of_them_out(tmp_path):
    first = Search(tmp_path, fails=lambda s: "" if s.member == DENSE else "raise", **SMALL)
    with pytest.raises(RunError):
        first.run()
    second = Search(tmp_path, **SMALL)
    segment = second.coordinator.decide()
    for result, snapshot in second.trainer.train(segment):
        second.coordinator.tell(segment, result, snapshot)
    second.coordinator.end(segment)
    second.coordinator.close()
    third = Search(tmp_path, **SMALL)
    assert [m.failures for m in third.coordinator._state.members].count(1) == SMALL["members"] - 1
    assert {s.member for s in third.run().of_members} == set(range(SMALL["members"]))


def interrupting(monkeypatch, kind):
    """Ctrl-C while an event is synced: it is on disk already."""
    append_lines = search.store.archive.append_lines

    def interrupted(path, records, **how):
        append_lines(path, records, **how)
        if any(record.get("event") == kind for record in records):
            raise KeyboardInterrupt

    monkeypatch.setattr(search.store.archive, "append_lines", interrupted)


def test_interrupted_where_a_segment_ends_the_study_still_hears_what_came_of_it(
    tmp_path, monkeypatch
):
    first = Search(tmp_path, **SMALL)
    ((segment, iterations),) = first.begin(1)
    for result, snapshot in iterations:
        first.coordinator.tell(segment, result, snapshot)
    with monkeypatch.context() as patch:
        interrupting(patch, "end")
        with pytest.raises(KeyboardInterrupt):
            first.coordinator.end(segment)
        first.coordinator.close()
    Search(tmp_path, **SMALL)
    trial = trials_in(tmp_path)[segment.trial_number]
    assert trial.state == TrialState.COMPLETE
    assert trial.values == [snapshot["return_mean"], snapshot["sparsity"]]


def test_interrupted_where_a_retry_is_noted_its_steps_count_once(tmp_path, monkeypatch):
    first = Search(tmp_path, **SMALL)
    ((segment, iterations),) = first.begin(1)
    for _ in range(2):
        first.coordinator.tell(segment, *next(iterations))
    with monkeypatch.context() as patch:
        interrupting(patch, "retry")
        with pytest.raises(KeyboardInterrupt):
            first.coordinator.note_retry(segment, "a worker died")
        first.coordinator.close()
    assert Search(tmp_path, **SMALL).coordinator.spent["training"] == 2 * ITERATION
