"""Gaps of a front, the pace of pruning, and from where a lineage sets out."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.front.pareto import hypervolume
from search.population.gaps import (
    Gap,
    Pace,
    beaten,
    choose_gap,
    choose_start,
    depth,
    gaps,
    sparsity_at,
)
from search.population.selection import Moment

DEEPEST = 3.0


def moment(decades, mean, *, clock=0, error=0.0, member=0, name=""):
    sparsity = sparsity_at(decades)
    return Moment(
        snapshot_id=name or f"{member}-{decades}-{mean}-{clock}",
        member=member,
        env_steps=clock,
        objectives=(mean, sparsity),
        sparsity=sparsity,
        standard_error=error,
    )


@given(st.floats(0.0, 6.0))
def test_a_depth_is_decades_of_density_and_comes_back(decades):
    assert depth(sparsity_at(decades)) == pytest.approx(decades, abs=1e-9)


def test_a_policy_without_weights_has_a_finite_depth():
    assert math.isfinite(depth(1.0))


@given(
    st.lists(
        st.tuples(st.integers(0, 29).map(lambda n: n / 10), st.integers(1, 50)),
        min_size=1,
        max_size=12,
    )
)
def test_filling_a_gap_gains_its_area_of_hypervolume_and_all_of_them_fill_the_box(points):
    moments = [moment(at, float(mean)) for at, mean in points]
    found = gaps(moments, DEEPEST, 0.0)
    area = hypervolume([(mean, at) for at, mean in points], (0.0, 0.0))
    best = max(mean for _, mean in points)
    for gap in found:
        mean = max(mean for at, mean in points if depth(sparsity_at(at)) >= gap.low - 1e-9)
        filled = hypervolume([*((m, at) for at, m in points), (mean, gap.high)], (0.0, 0.0))
        assert filled - area == pytest.approx(gap.area, abs=1e-6)
    # Every step of the staircase, from where the best policy lies, is the top of one gap.
    heights = sum(gap.height for gap in found)
    assert heights == pytest.approx(best, abs=1e-6)


def test_a_front_that_goes_as_deep_as_may_be_aimed_at_has_no_gap_beyond():
    found = gaps([moment(0.0, 500.0), moment(DEEPEST, 500.0)], DEEPEST, 22.0)
    assert found == []


def test_gaps_are_drawn_in_proportion_to_their_area_over_attempts():
    rng = np.random.default_rng(0)
    wide, narrow = Gap(0.0, 2.0, 100.0), Gap(2.0, 3.0, 100.0)
    tried = [0.5, 1.0, 2.0]
    for attempts, share in (([], 2 / 3), (tried, (200 / 4) / (200 / 4 + 100))):
        drawn = [choose_gap([wide, narrow], attempts, rng) is wide for _ in range(4_000)]
        assert np.mean(drawn) == pytest.approx(share, abs=0.03)


def test_the_pace_says_when_pruning_ends_and_how_far_it_comes():
    pace = Pace(per_decade=0.2, horizon=1_000, latest=950)
    assert pace.ends(100, 1.0, 2.5) == pytest.approx(0.4)
    assert pace.ends(100, 2.0, 1.0) == pytest.approx(0.1)
    assert pace.reach(moment(1.0, 9.0, clock=550)) == pytest.approx(3.0)
    assert pace.reach(moment(1.0, 9.0, clock=960)) == pytest.approx(1.0)


def test_a_lucky_evaluation_does_not_draw_everybody():
    lucky = moment(1.0, 300.0, error=100.0, clock=100, name="lucky")
    sure = [moment(1.0, 250.0, error=5.0, clock=900, member=m, name=f"m{m}") for m in (1, 2, 3)]
    rng = np.random.default_rng(0)
    drawn = {choose_start([lucky, *sure], 1.5, rng).snapshot_id for _ in range(100)}
    assert drawn == {"m1", "m2"}


def test_starts_are_near_the_target_and_otherwise_the_sparsest_of_the_best():
    rng = np.random.default_rng(0)
    able = [moment(0.0, 500.0), moment(0.5, 500.0, name="sparsest"), moment(1.0, 100.0)]
    assert choose_start(able, 3.0, rng).snapshot_id == "sparsest"
    near = moment(2.2, 500.0, name="near")
    assert choose_start([*able, near], 3.0, rng).snapshot_id == "near"


def test_beaten_is_who_returns_clearly_less_with_no_fewer_weights_and_no_less_training():
    here = moment(1.0, 100.0, error=3.0)
    assert beaten(here, [moment(1.0, 111.0, error=4.0)])
    assert not beaten(here, [moment(1.0, 109.0, error=4.0)])
    assert not beaten(here, [moment(0.9, 500.0)])
    assert not beaten(here, [moment(1.0, 500.0, clock=1)])
    assert not beaten(here, [dataclasses.replace(here, member=1)])
