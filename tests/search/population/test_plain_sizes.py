"""How large plain policies can be: against counting what was built."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.population.plain_sizes import (
    MOST_LEAVES,
    PlainSizes,
    leaves_within,
    narrowed,
    numbers_of,
    weights_of,
)

WIDTHS = st.lists(st.integers(1, 40), min_size=3, max_size=5)


@given(WIDTHS, st.integers(1, 5000))
def test_a_narrowed_network_fits_or_is_the_smallest_there_is(units, weights):
    layers = [(b, a) for a, b in itertools.pairwise(units)]
    found = narrowed(layers, weights)
    own = [units[0], *found, units[-1]]
    built = sum(np.ones((b, a)).size for a, b in itertools.pairwise(own))
    assert weights_of(layers, found) == built
    assert built <= weights or found == [1] * len(found)
    assert all(1 <= a <= b for a, b in zip(found, units[1:-1], strict=True))


@given(st.integers(1, 3000), st.integers(1, 20))
def test_a_tree_fits_or_has_two_leaves_and_one_leaf_more_would_not_fit(numbers, leaf):
    leaves = leaves_within(numbers, leaf)
    assert numbers_of(leaves, leaf) <= numbers or leaves == 2
    assert numbers_of(leaves + 1, leaf) > numbers or leaves == MOST_LEAVES


@pytest.mark.parametrize(
    ("kind", "weights", "size"),
    [
        ("random_masks", 9, 9),
        ("small_dense", 15, 7),
        ("small_dense", 16, 16),
        ("small_dense", 2, 7),
        ("linear", 9, 4),
        ("linear", 2, 2),
        ("tree", 8, 7),
    ],
)
def test_sizes_of_cartpoles_plain_policies(kind, weights, size):
    plain = PlainSizes(layers=((64, 4), (64, 64), (2, 64)), linear=4, leaf=1)
    assert plain.size(kind, weights) == size
