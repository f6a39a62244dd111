"""Seeds are distinct, reproducible, and never shared between purposes."""

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config.seeds import SeedPurpose, draw, generator_for

PURPOSES = get_args(SeedPurpose)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    seed=st.integers(0, 2**64),
    purpose=st.sampled_from(PURPOSES),
    count=st.integers(0, 300),
    key=st.lists(st.integers(-1, 10_000), max_size=3),
)
def test_draws_are_distinct_seeds_and_the_same_at_every_call(seed, purpose, count, key):
    drawn = draw(seed, purpose, count, *key)
    assert len(drawn) == len(set(drawn)) == count
    assert all(type(value) is int and 0 <= value < 2**31 for value in drawn)
    assert draw(seed, purpose, count, *key) == drawn


def test_purposes_never_share_a_seed():
    """Not even between searches: each purpose has an interval of its own."""
    intervals = []
    for purpose in PURPOSES:
        values = [v for seed in range(20) for v in draw(seed, purpose, 500, seed)]
        intervals.append((min(values), max(values)))
    intervals.sort()
    assert len(intervals) == len(PURPOSES)
    assert intervals[-1][1] < 2**31
    for (_, end), (start, _) in itertools.pairwise(intervals):
        assert end < start


def test_held_out_episodes_are_never_seen_in_the_search():
    search = {v for part in range(50) for v in draw(0, "search", 10, part)}
    selection, report = set(draw(0, "selection", 200)), set(draw(0, "report", 200))
    assert search.isdisjoint(selection | report)
    assert selection.isdisjoint(report)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_other_keys_and_other_searches_draw_other_seeds(purpose):
    keys = [(), (-1,), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1, 0), (0, -1)]
    draws = [draw(seed, purpose, 8, *key) for seed in (0, 1) for key in keys]
    everything = [value for drawn in draws for value in drawn]
    assert len(set(everything)) == len(everything)


def test_training_seeds_of_a_large_search_do_not_collide():
    seeds = [draw(3, "training", 1, m, s)[0] for m in range(64) for s in range(64)]
    assert len(set(seeds)) > 0.999 * len(seeds)


def test_more_seeds_begin_with_the_same_ones():
    assert draw(5, "selection", 20)[:10] == draw(5, "selection", 10)


def test_generators_are_reproducible_and_independent():
    first = generator_for(1, "choice").random(1_000)
    assert (generator_for(1, "choice").random(1_000) == first).all()
    for other in (
        generator_for(2, "choice"),
        generator_for(1, "search"),
        generator_for(1, "choice", 0),
    ):
        assert abs(np.corrcoef(first, other.random(1_000))[0, 1]) < 0.15
