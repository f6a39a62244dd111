"""The Tune adapter driven by hand, without a cluster."""

import os
import pickle

import pytest
from pretended_search import Search
from pretended_tune import Trial, Tune
from ray.tune.search import Searcher

from rllib_ext.member.segment import DENSE
from search.cluster.retries import MOST_LOSSES, RETRIES
from search.training.segment_scheduler import ErrorNotes, SegmentScheduler


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    """Nothing crashes here, so nothing needs to be synced."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def test_a_search_runs_to_its_end_with_all_slots_in_use(tmp_path):
    tune = Tune(Search(tmp_path, members=5), slots=3).run()
    assert tune.most == 3
    assert tune.search.coordinator.finished
    assert tune.scheduler.error is None
    snapshots = tune.search.archive.snapshots()
    assert 80_000 <= tune.search.coordinator.spent["training"] == 1_000 * len(snapshots)
    # The dense baseline reports too.
    assert tune.told == len(snapshots) + 16
    assert len(set(tune.names)) == len(tune.names)
    assert tune.names[0] == "dense-s000"
    assert {"m00-s000", "m04-s003"} <= set(tune.names)


def test_no_more_segments_than_slots_are_handed_out(tmp_path):
    scheduler = SegmentScheduler(Search(tmp_path).coordinator, 2, lambda: None)
    assert scheduler.suggest("a")["member"] == DENSE
    assert scheduler.suggest("b")["member"] == 0
    assert scheduler.suggest("c") is None


def test_a_segment_is_decided_on_when_a_slot_is_free_and_not_before(tmp_path):
    search = Search(tmp_path)
    scheduler = SegmentScheduler(search.coordinator, 1, lambda: None)
    scheduler.suggest("a")
    before = search.archive.events()
    assert scheduler.suggest("b") is None
    assert search.archive.events() == before


def test_an_iteration_without_an_evaluation_is_counted(tmp_path):
    search = Search(tmp_path)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None)
    scheduler.suggest("a")
    scheduler.suggest("b")
    scheduler.on_trial_result("b", {"env_steps": 700, "env_steps_this_iter": 700})
    assert search.coordinator.spent["training"] == 700
    assert search.archive.snapshots() == []


def test_a_failed_trial_is_reported_with_the_last_line_of_its_traceback_and_replaced(tmp_path):
    search = Search(
        tmp_path, fails=lambda s: "raise" if (s.member, s.segment) == (1, 1) else "", members=5
    )
    tune = Tune(search, slots=2).run()
    assert tune.scheduler.error is None
    (failure,) = search.coordinator.failures
    assert failure == {"member": 1, "segment": 1, "error": "RuntimeError: the environment died"}
    assert "m01-s002" in tune.names


def test_a_trial_that_is_tried_again_is_noted_and_goes_on(tmp_path):
    search = Search(tmp_path)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None)
    scheduler.suggest("a")
    config = scheduler.suggest("b")
    for trial_id, following, error in (("b", "c", "a worker was killed"), ("c", "d", None)):
        scheduler.on_trial_complete(trial_id, error=True)
        ErrorNotes(scheduler).on_trial_error(0, [], Trial(trial_id, config, error))
        assert scheduler.suggest(following) == config
    notes = [e["error"] for e in search.archive.events() if e["event"] == "retry"]
    assert notes == ["a worker was killed", "no reason given"]
    assert search.coordinator.failures == []
    scheduler.on_trial_result("d", {"env_steps": 700, "env_steps_this_iter": 700})


KILLED = (
    "ray.exceptions.OutOfMemoryError: a worker was killed due to the node running low on memory"
)


def test_a_trial_handed_to_a_process_that_had_died_is_handed_out_again(tmp_path):
    search = Search(tmp_path)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None)
    notes = ErrorNotes(scheduler)
    scheduler.suggest("dense")
    config = scheduler.suggest("0")
    for number in range(MOST_LOSSES + 1):
        scheduler.on_trial_complete(f"{number}", error=True)
        notes.on_trial_error(0, [], Trial(f"{number}", config, KILLED))
        following = scheduler.suggest(f"{number + 1}")
        assert (following == config) is (number < MOST_LOSSES)
    assert len(search.coordinator.failures) == 1


DIED = "The actor is dead because its owner has gone"


@pytest.mark.parametrize(
    ("error", "starts", "times"),
    [
        (KILLED, True, MOST_LOSSES),
        (DIED, True, RETRIES),
        (DIED, False, MOST_LOSSES),
        ("ValueError: of what", True, RETRIES),
        ("ValueError: of what", False, RETRIES),
    ],
)
def test_a_trial_that_failed_too_often_is_not_handed_out_again(tmp_path, error, starts, times):
    search = Search(tmp_path)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None)
    notes = ErrorNotes(scheduler)
    scheduler.suggest("dense")
    config = scheduler.suggest("0")
    for number in range(times + 1):
        assert search.coordinator.failures == []
        if starts:
            notes.on_trial_start(0, [], Trial(f"{number}", config))
        scheduler.on_trial_complete(f"{number}", error=True)
        notes.on_trial_error(0, [], Trial(f"{number}", config, error))
        following = scheduler.suggest(f"{number + 1}")
        assert (following == config) is (number < times)
    assert len(search.coordinator.failures) == 1


def test_an_error_of_the_coordinator_ends_the_search_and_is_kept_for_the_driver(tmp_path):
    search = Search(tmp_path, fails=lambda s: "raise" if s.member == DENSE else "")
    tune = Tune(search, slots=2).run()
    assert "the dense baseline failed" in str(tune.scheduler.error)
    assert tune.scheduler.suggest("z") == Searcher.FINISHED


def test_it_pickles_without_what_it_coordinates(tmp_path):
    scheduler = SegmentScheduler(Search(tmp_path).coordinator, 2, lambda: None)
    scheduler.suggest("a")
    notes = ErrorNotes(scheduler)
    for one in (scheduler, notes):
        data = pickle.dumps(one)
        assert len(data) < 200
        assert vars(pickle.loads(data)) == {}
    scheduler.save(str(tmp_path / "saved"))
    scheduler.save_to_dir(str(tmp_path))
    scheduler.restore(str(tmp_path / "saved"))
    assert not (tmp_path / "saved").exists()
    assert scheduler.suggest("b")["member"] == 0
