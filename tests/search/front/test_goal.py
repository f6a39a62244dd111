"""Which point of a front fulfils a goal, by asking every point."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config.goal import GoalSettings
from search.front.goal import goal_of, goal_pick, nearest_to_goal, shortfall

LIMITS = st.builds(
    GoalSettings,
    max_weights=st.none() | st.integers(1, 3_000),
    min_retained=st.none() | st.floats(0.05, 1.2),
)
# A front, the densest first: the fewer weights, the less it keeps.
FRONTS = st.lists(
    st.tuples(st.integers(0, 5_000), st.floats(-0.2, 1.3)), min_size=0, max_size=12, unique=True
).map(
    lambda points: list(
        zip(
            sorted((n for n, _ in points), reverse=True),
            sorted((k for _, k in points), reverse=True),
            strict=True,
        )
    )
)


def meets(goal, weights, kept):
    few = goal.max_weights is None or max(weights, 1) <= goal.max_weights
    return few and (goal.min_retained is None or kept >= goal.min_retained)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(goal=LIMITS, front=FRONTS)
def test_the_pick_is_the_best_of_those_that_meet_the_goal(goal, front):
    weights, kept = ([p[i] for p in front] for i in (0, 1))
    picked = goal_pick(goal, weights, kept)
    able = [i for i, point in enumerate(front) if meets(goal, *point)]
    if not goal.given or not able:
        assert picked is None
        return
    assert picked in able
    if goal.min_retained is None:
        assert kept[picked] == max(kept[i] for i in able)
    else:
        assert weights[picked] == min(weights[i] for i in able)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(goal=LIMITS, front=FRONTS)
def test_nobody_lies_nearer_to_a_goal_than_the_nearest(goal, front):
    weights, kept = ([p[i] for p in front] for i in (0, 1))
    nearest = nearest_to_goal(goal, weights, kept)
    if not goal.given or not front:
        assert nearest is None
        return

    def lacks(i):
        few = goal.max_weights or math.inf
        many = max(0.0, math.log10(max(1, weights[i])) - math.log10(few)) if goal.max_weights else 0
        return many + max(0.0, (goal.min_retained or -9) - kept[i])

    assert lacks(nearest) == pytest.approx(min(map(lacks, range(len(front)))), abs=1e-9)


def test_what_is_retained_may_be_unknown():
    kept = [math.nan, math.nan]
    assert goal_pick(GoalSettings(max_weights=10), [20, 9], kept) == 1
    keeps = GoalSettings(min_retained=0.9)
    assert goal_pick(keeps, [20, 9], kept) is None
    assert nearest_to_goal(keeps, [20, 9], kept) is None
    assert np.isinf(shortfall(keeps, [20], [math.nan])).all()


def test_a_folder_s_goal_is_read_and_a_damaged_one_is_none():
    assert goal_of({"goal": {"max_weights": 7}}) == GoalSettings(max_weights=7)
    for values in ({}, {"goal": None}, {"goal": {"max_weights": "many"}}, {"goal": 5}):
        assert not goal_of(values).given
