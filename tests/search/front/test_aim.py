"""What counts as gain towards a goal, where it lies, and who is looked at again because of it."""

import math

import pytest

from search.config.goal import GoalSettings
from search.front.aim import Aim, aim_of, candidates_for, return_that_keeps
from search.front.pareto import candidates
from search.store.archive import Archive, Baseline

FEW = GoalSettings(max_weights=100)
KEEP = GoalSettings(min_retained=0.95)
BOTH = GoalSettings(max_weights=100, min_retained=0.95)
NOBODY = Aim()


def baseline(name, score):
    return Baseline(name=name, description="", env_steps=0, wall_time=0.0, search_return=score)


def scores(**returns):
    return {name: baseline(name, score) for name, score in returns.items()}


def test_beyond_the_goal_an_objective_gains_nothing():
    few = Aim(FEW)
    assert few.capped(7.0, 0.95, 1_000) == (7.0, pytest.approx(0.9))
    assert few.capped(7.0, 0.5, 1_000) == (7.0, 0.5)
    keep = Aim(KEEP, enough=400.0)
    assert keep.capped(450.0, 0.95, 1_000) == (400.0, 0.95)
    assert keep.capped(350.0, 0.95, 1_000) == (350.0, 0.95)
    # Of what keeps enough the fewest weights are wanted, however few are allowed.
    assert Aim(BOTH, enough=400.0).capped(450.0, 0.95, 1_000) == (400.0, 0.95)
    assert NOBODY.capped(450.0, 0.95, 1_000) == (450.0, 0.95)


def test_the_return_that_is_enough_is_a_share_of_dense_above_random():
    known = scores(dense=500.0, random=20.0)
    assert return_that_keeps(0.5, known, 0.0) == 260.0
    assert return_that_keeps(0.5, scores(dense=500.0), 100.0) == 300.0
    for unknown in ({}, scores(random=20.0), scores(dense=10.0, random=20.0)):
        assert return_that_keeps(0.5, unknown, 20.0) == math.inf
    assert return_that_keeps(0.5, scores(dense=500.0), -math.inf) == math.inf
    assert aim_of(FEW, known, 0.0).enough == math.inf


@pytest.fixture(scope="module")
def records(finished):
    return Archive(finished.folder).snapshots()


def test_where_a_goal_lies(records):
    assert NOBODY.weights(records) is None
    assert Aim(FEW).weights(records) == (50.0, 100.0)
    assert Aim(FEW, total=1_000).sparsities(()) == (0.9, 0.95)
    assert Aim(FEW).sparsities(()) is None
    total = records[0].total_params
    assert Aim(FEW).sparsities(records) == pytest.approx((1 - 100 / total, 1 - 50 / total))
    # Before anything is known to be enough nobody knows where that lies.
    assert Aim(KEEP).weights(records) is None
    enough = 470.0
    fewest = min(s.nonzero_params for s in records if s.return_mean >= enough)
    assert Aim(KEEP, enough=enough).weights(records) == (fewest / 4, fewest)
    both = GoalSettings(max_weights=fewest + 1, min_retained=0.95)
    assert Aim(both, enough=enough).weights(records) == (fewest / 4, fewest)
    both = GoalSettings(max_weights=fewest // 2, min_retained=0.95)
    assert Aim(both, enough=enough).weights(records) == (fewest // 2 / 2, fewest // 2)


def test_without_a_goal_the_candidates_are_the_front_s(records):
    for limit in (1, 8, 24):
        assert candidates_for(NOBODY, records, limit, floor=22.0) == candidates(
            records, limit, floor=22.0
        )


@pytest.mark.parametrize("goal", [FEW, KEEP])
def test_more_candidates_lie_near_the_goal_and_the_others_are_the_front_s(records, goal):
    aim = Aim(goal, enough=470.0 if goal is KEEP else math.inf)
    few, most = aim.weights(records)

    def near(chosen):
        return sum(
            few / 3 <= s.nonzero_params <= (most if goal is FEW else 3 * most) for s in chosen
        )

    chosen = candidates_for(aim, records, 16, floor=22.0)
    usual = candidates(records, 16, floor=22.0)
    assert len(chosen) == 16 == len({s.snapshot_id for s in chosen})
    assert [s.sparsity for s in chosen] == sorted(s.sparsity for s in chosen)
    assert near(chosen) >= max(8, near(usual) + 1)
    # Those that are not near the goal are the front's own.
    far = [s for s in chosen if not near([s])]
    assert far
    assert {s.snapshot_id for s in far} <= {s.snapshot_id for s in usual}
