import random
from collections import Counter

import pytest

from benchmarks.faulty_environment import RAISE
from benchmarks.shared import drill
from benchmarks.shared.drill import LATE, Drill, Fault, plan
from benchmarks.shared.phases import BASELINES, FINISHED, RE_EVALUATION, SHIFTS, position


def _at(search):
    return position(search.archive, search.config)


def test_a_search_is_followed_from_phase_to_phase(trained):
    assert 0.9 < _at(trained) < RE_EVALUATION
    trained.choose()
    assert _at(trained) == RE_EVALUATION
    trained.play("dense")
    assert RE_EVALUATION < _at(trained) < BASELINES
    trained.evaluate()
    assert _at(trained) == BASELINES
    first, second = trained.planned()
    trained.train_baseline(first)
    assert _at(trained) == BASELINES + 0.5
    trained.archive.add_event("failure", member=second.name, segment=0, env_steps=0, error="died")
    assert _at(trained) == BASELINES
    trained.play(first.name)
    assert _at(trained) == SHIFTS
    trained.shift()
    trained.finish()
    assert _at(trained) == FINISHED


def test_a_larger_budget_is_training_again(finished):
    finished.manifest(status="running")
    budget = finished.config.budget.model_copy(update={"env_steps": 100_000})
    more = finished.config.model_copy(update={"budget": budget})
    assert _at(finished) == SHIFTS
    assert 0.5 < position(finished.archive, more) < RE_EVALUATION


def test_faults_are_spread_over_training_and_what_comes_after_it():
    faults = plan(random.Random(0), 20, 4)
    kinds = Counter(fault.kind for fault in faults)
    assert kinds == {"driver": 10, "worker": 10, "environment": 4}
    assert [f.moment for f in faults] == sorted(f.moment for f in faults)
    late = Counter(int(f.moment) for f in faults if f.moment >= RE_EVALUATION)
    assert late.total() == round(drill.AFTERWARDS * 24)
    assert set(late) == {RE_EVALUATION, BASELINES, SHIFTS}
    assert all(int(f.moment) in LATE for f in faults if f.moment >= RE_EVALUATION)


class _Acted(Drill):
    """A drill whose search only goes through phases when somebody waits; some faults miss."""

    def __init__(self, place, misses):
        super().__init__(place, place / "config.yaml", [], 0)
        self.misses, self.at, self.asked = misses, 0.0, []

    position = property(lambda self: self.at)

    def _goes_on(self, faults):
        if self.at < FINISHED:
            return True
        if not faults or self.extensions == 2:
            return False
        self.extensions, self.at = self.extensions + 1, 0.5
        return True

    def _wait(self, condition):
        self.at = float(FINISHED)
        return False

    def _wait_for(self, fault):
        self.at = max(self.at, fault.moment)

    def _driver(self):
        self.asked.append(self.at)
        return len(self.asked) > self.misses

    _worker = _environment = _driver


@pytest.mark.parametrize(("misses", "hits"), [(0, 6), (3, 6), (1000, 0)])
def test_missed_faults_are_drawn_again_until_all_have_hit_or_no_larger_budget_helps(
    tmp_path, monkeypatch, misses, hits
):
    acted = _Acted(tmp_path, misses)
    if misses == 1000:
        # Each of them comes too late.
        acted._wait_for = lambda fault: setattr(acted, "at", float(FINISHED))
    acted.run(4, 2)
    assert acted.hits.total() == hits
    assert acted.missed == (misses if hits else 3)


def test_a_fault_that_missed_comes_later_in_training_or_in_the_phase_at_hand(tmp_path):
    acted = _Acted(tmp_path, 0)
    acted.at = 0.7
    assert 0.7 <= acted._again("worker").moment < RE_EVALUATION
    acted.at = 2.4
    assert acted._again("driver") == Fault(
        "driver", BASELINES, pytest.approx(float("nan"), nan_ok=True)
    )
    acted.at = 3.0
    assert acted._again("environment").moment == SHIFTS


def test_an_environment_that_never_raised_is_not_told_to_once_the_search_is_over(tmp_path):
    acted = Drill(tmp_path, tmp_path / "config.yaml", [], 0)
    acted.__class__ = type("Over", (Drill,), {"position": property(lambda self: float(FINISHED))})
    acted._wait = lambda condition: condition()
    assert not acted._environment()
    assert not (tmp_path / RAISE).exists()
