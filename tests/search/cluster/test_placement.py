"""How many run at once: by machine, process and GPU."""

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.cluster.placement import placed_at_once


@pytest.mark.parametrize(
    ("needed", "machine", "fit"),
    [
        ([{"CPU": 1}], {"CPU": 2}, 2),
        ([{"CPU": 0.1}], {"CPU": 0.3}, 3),
        ([{"CPU": 2}, {"CPU": 1}], {"CPU": 8}, 2),
        ([{"CPU": 1, "GPU": 0.5}], {"CPU": 8, "GPU": 1}, 2),
        ([{"CPU": 1, "GPU": 1}], {"CPU": 8}, 0),
        ([{"CPU": 4}], {"CPU": 2}, 0),
        ([{"CPU": 0}], {"CPU": 2}, 0),
        # A share is one of a single GPU; several are whole ones.
        ([{"GPU": 0.6}], {"GPU": 3}, 3),
        ([{"GPU": 0.4}], {"GPU": 2}, 4),
        ([{"GPU": 2}], {"GPU": 5}, 2),
        ([{"GPU": 1}, {"GPU": 0.5}], {"GPU": 3}, 2),
    ],
)
def test_on_one_machine_the_scarcest_resource_counts(needed, machine, fit):
    assert placed_at_once([machine], needed) == fit


@pytest.mark.parametrize(
    ("machines", "needed", "strategy", "fit"),
    [
        ([3, 3], [2], "PACK", 2),
        ([3, 3], [1, 1], "PACK", 3),
        ([3, 3], [1, 1], "STRICT_PACK", 2),
        ([4, 2], [3, 1], "PACK", 1),
        ([2, 2, 2], [1, 1, 1], "PACK", 2),
        ([4, 4], [1, 1, 1], "STRICT_SPREAD", 0),
        ([4, 4], [1, 1], "STRICT_SPREAD", 4),
        ([8], [1, 1], "STRICT_SPREAD", 0),
        ([], [1], "PACK", 0),
    ],
)
def test_what_is_left_on_two_machines_makes_no_process(machines, needed, strategy, fit):
    offered = [{"CPU": float(cpus)} for cpus in machines]
    assert placed_at_once(offered, [{"CPU": float(n)} for n in needed], strategy) == fit


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), max_size=3),
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
)
def test_never_more_than_any_way_to_place_them_and_never_none_where_one_fits(machines, needed):
    @functools.cache
    def most(left):
        """Tries every machine for every process."""
        best = 0
        for chosen in itertools.product(range(len(left)), repeat=len(needed)):
            rest = list(left)
            for at, cpus in zip(chosen, needed, strict=True):
                rest[at] -= cpus
            if all(cpus >= 0 for cpus in rest):
                best = max(best, 1 + most(tuple(sorted(rest))))
        return best

    found = placed_at_once(
        [{"CPU": float(cpus)} for cpus in machines], [{"CPU": float(n)} for n in needed]
    )
    optimum = most(tuple(sorted(machines))) if machines else 0
    assert found <= optimum
    assert bool(found) is bool(optimum)
    if len(needed) == 1:
        assert found == optimum
