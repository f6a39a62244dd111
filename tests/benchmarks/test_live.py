"""From how many weights on a way of counting reaches a floor."""

import math

import pandas as pd
import pytest

from benchmarks.live import _crossing

BY_WEIGHTS = pd.Series({1000: 500.0, 100: 400.0, 10: 100.0})


def test_between_two_numbers_the_crossing_is_interpolated_in_decades():
    assert _crossing(BY_WEIGHTS, 250.0) == pytest.approx(10**1.5)
    assert _crossing(BY_WEIGHTS, 475.0) == pytest.approx(10 ** (3 - 0.25))


def test_what_was_not_tried_is_not_claimed():
    assert _crossing(BY_WEIGHTS, 50.0) == pytest.approx(10)
    assert _crossing(BY_WEIGHTS, 600.0) == pytest.approx(1000)


def test_a_fall_that_recovers_counts_from_the_fall():
    dipped = pd.Series({1000: 500.0, 100: 50.0, 10: 500.0})
    assert math.log10(_crossing(dipped, 275.0)) == pytest.approx(2.5)
