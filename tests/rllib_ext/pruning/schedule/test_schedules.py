"""Schedules: bounds, monotony, the published formula, and ramps that are changed on the way."""

import itertools
import math
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ext.pruning import config
from rllib_ext.pruning.schedule.schedules import SHAPES, Ramp, decayed_share, round_shares

RAMPS = (*SHAPES, "one_shot")
ROUNDED = "iterative"
GRID = [i / 400 for i in range(481)]
share = st.floats(0.0, 1.0)


def test_config_offers_exactly_the_schedules_that_exist() -> None:
    assert set(get_args(config.Schedule)) == {*RAMPS, "iterative", "constant", "plateau"}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_map_the_unit_interval_onto_itself(name: str) -> None:
    assert SHAPES[name](0.0) == pytest.approx(0.0, abs=1e-12)
    assert SHAPES[name](1.0) == pytest.approx(1.0, abs=1e-12)


def test_cubic_is_the_published_formula() -> None:
    """Zhu & Gupta 2017, eq. 1: s_t = s_f + (s_i − s_f)(1 − (t − t0)/(nΔt))³."""
    s_i, s_f, t0, n, dt = 0.1, 0.9, 2_000, 40, 150
    horizon = 10_000
    ramp = Ramp("cubic", t0 / horizon, (t0 + n * dt) / horizon, s_f, s_i)
    for k in range(n + 1):
        t = t0 + k * dt
        published = s_f + (s_i - s_f) * (1 - (t - t0) / (n * dt)) ** 3
        assert ramp.at(t / horizon) == pytest.approx(published, abs=1e-12)


def test_cubic_rises_fast_at_first() -> None:
    ramp = Ramp("cubic", 0.0, 1.0, 0.8)
    assert ramp.at(0.5) == pytest.approx(0.8 * 0.875)


def test_linear_rises_evenly() -> None:
    ramp = Ramp("linear", 0.2, 0.6, 0.8)
    assert [ramp.at(p) for p in (0.1, 0.2, 0.3, 0.4, 0.6, 0.9)] == pytest.approx(
        [0.0, 0.0, 0.2, 0.4, 0.8, 0.8]
    )


def test_cosine_is_slow_at_both_ends() -> None:
    ramp = Ramp("cosine", 0.0, 1.0, 1.0)
    assert [ramp.at(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(
        [0.0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1.0]
    )


def test_exponential_closes_the_same_share_of_the_gap_in_equal_times() -> None:
    """The gap to its asymptote 1 ÷ (1 − e⁻⁵) shrinks by the same factor."""
    asymptote = 1 / (1 - math.exp(-5))
    gaps = [asymptote - SHAPES["exponential"](p) for p in (0.0, 0.1, 0.2, 0.3, 0.9, 1.0)]
    assert gaps[1] / gaps[0] == pytest.approx(math.exp(-0.5))
    assert gaps[2] / gaps[1] == pytest.approx(math.exp(-0.5))
    assert gaps[5] / gaps[4] == pytest.approx(math.exp(-0.5))


def test_constant_is_there_from_the_first_update() -> None:
    ramp = Ramp("constant", 0.5, 0.8, 0.9)
    assert {ramp.at(p) for p in GRID} == {0.9}


def test_each_round_removes_a_share_of_what_remains() -> None:
    shares = round_shares(0.2, 0.0, 0.9)
    sparsities = [0.9 * share for share in shares]
    remaining = [1.0, *(1 - s for s in sparsities)]
    factors = [b / a for a, b in itertools.pairwise(remaining)]
    assert len(shares) == 11
    assert factors[:-1] == pytest.approx([0.8] * 10)
    assert 0.8 <= factors[-1] < 1.0
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("share", "start", "final", "rounds"),
    [(0.2, 0.0, 0.2, 1), (0.2, 0.0, 0.36, 2), (0.5, 0.0, 0.875, 3), (0.5, 0.5, 0.875, 2)],
)
def test_whole_rounds_are_counted_exactly(share, start, final, rounds) -> None:
    assert len(round_shares(share, start, final)) == rounds


def test_nothing_left_to_do_is_one_round() -> None:
    assert round_shares(0.2, 0.5, 0.5) == (1.0,)
    assert round_shares(0.2, 0.5, 0.3) == (1.0,)


@given(share=st.floats(0.01, 0.99), start=st.floats(0.0, 0.98), final=st.floats(0.0, 0.99))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_rounds_rise_strictly_to_one(share: float, start: float, final: float) -> None:
    shares = round_shares(share, start, final)
    assert all(a < b for a, b in itertools.pairwise((0.0, *shares)))
    assert shares[-1] == 1.0


def test_rounds_are_spread_evenly_and_the_last_one_comes_at_end() -> None:
    ramp = Ramp(ROUNDED, 0.2, 0.8, 0.488, rounds=round_shares(0.2, 0.0, 0.488))
    assert [ramp.at(p) for p in (0.0, 0.39, 0.41, 0.59, 0.61, 0.79, 0.8, 1.0)] == pytest.approx(
        [0.0, 0.0, 0.2, 0.2, 0.36, 0.36, 0.488, 0.488]
    )


def test_a_round_comes_at_its_very_time() -> None:
    """(0.5 − 0.2) ÷ 0.6 is a hair below one half in floating point."""
    ramp = Ramp(ROUNDED, 0.2, 0.8, 0.75, rounds=round_shares(0.5, 0.0, 0.75))
    assert ramp.at(0.5) == pytest.approx(0.5)


def test_an_anchored_ramp_makes_its_rounds_in_the_time_that_is_left() -> None:
    rounds = round_shares(0.5, 0.5, 0.875)
    ramp = Ramp(ROUNDED, 0.2, 0.8, 0.875, 0.5, anchor=0.6, rounds=rounds)
    assert [ramp.at(p) for p in (0.6, 0.69, 0.71, 0.79, 0.8)] == pytest.approx(
        [0.5, 0.5, 0.75, 0.75, 0.875]
    )


def test_the_exchanged_share_decays_by_a_cosine() -> None:
    """Evci et al. 2020, eq. 1: α ÷ 2 · (1 + cos(tπ ÷ T_end))."""
    t_end = 750
    for t in (0, 100, 375, 750):
        published = 0.3 / 2 * (1 + math.cos(t * math.pi / t_end))
        assert decayed_share(0.3, t / t_end) == pytest.approx(published)
    assert decayed_share(0.3, 0.0) == 0.3
    assert decayed_share(0.3, 1.0) == 0.0


def test_one_shot_jumps_once_at_begin() -> None:
    ramp = Ramp("one_shot", 0.3, 0.9, 0.5)
    assert ramp.at(0.2999) == 0.0
    assert ramp.at(0.3) == 0.5
    assert ramp.at(5.0) == 0.5


@pytest.mark.parametrize("name", [*RAMPS, ROUNDED])
@given(begin=share, length=share, final=st.floats(0.0, 0.999), start=st.floats(0.0, 0.999))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_values_are_bounded_and_never_fall(
    name: str, begin: float, length: float, final: float, start: float
) -> None:
    end = begin + length * (1.0 - begin)
    ramp = Ramp(name, begin, end, final, start, rounds=round_shares(0.3, start, final))
    values = [ramp.at(p) for p in GRID]
    top = max(start, final)
    assert all(start <= v <= top for v in values)
    assert all(a <= b for a, b in itertools.pairwise(values))
    assert values[0] == start or begin == 0.0
    assert values[-1] == top


@pytest.mark.parametrize("name", RAMPS)
def test_begin_equal_to_end_is_one_jump(name: str) -> None:
    ramp = Ramp(name, 0.5, 0.5, 0.7)
    assert ramp.at(0.4999) == 0.0
    assert ramp.at(0.5) == 0.7


@pytest.mark.parametrize("name", SHAPES)
@given(anchor=st.floats(0.0, 1.2), start=st.floats(0.0, 0.999), final=st.floats(0.0, 0.999))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_an_anchored_ramp_starts_where_the_lineage_stands(
    name: str, anchor: float, start: float, final: float
) -> None:
    ramp = Ramp(name, 0.2, 0.8, final, start, anchor)
    assert ramp.at(anchor) == start
    assert ramp.at(max(0.2, anchor) + 1e-9) - start < 1e-4
    values = [ramp.at(p) for p in GRID if p >= anchor]
    assert all(a <= b for a, b in itertools.pairwise(values))
    reached = max(start, final) if anchor < 0.8 else start
    assert ramp.at(1.3) == reached


def test_an_anchored_one_shot_may_jump() -> None:
    assert Ramp("one_shot", 0.2, 0.8, 0.9, 0.4, anchor=0.9).at(0.91) == 0.9


@pytest.mark.parametrize("name", RAMPS)
def test_a_target_below_the_start_holds(name: str) -> None:
    ramp = Ramp(name, 0.2, 0.8, 0.3, 0.6, anchor=0.4)
    assert {ramp.at(p) for p in GRID} == {0.6}
