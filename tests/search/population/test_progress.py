"""What a person is told of a running search."""

import dataclasses
import math

import numpy as np
import pytest

from search.population.progress import GOOD_LOSS, BestSoFar


def looked_at(snapshots, floor):
    """Best return and sparsest good policy, by looking at all."""
    usable = [s for s in snapshots if s.usable]
    if not usable:
        return math.nan, math.nan
    best = max(s.return_mean for s in usable)
    bar = best - GOOD_LOSS * max(0.0, best - floor)
    return best, max(s.sparsity for s in usable if s.return_mean >= bar)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_so_far_are_those_of_all_snapshots_at_any_moment(finished, seed):
    rng = np.random.default_rng(seed)
    template, floor = finished.snapshots[0], float(rng.uniform(0, 60))
    made, best = [], BestSoFar([], floor)
    np.testing.assert_equal((best.best, best.sparsest_good), looked_at(made, floor))
    for _ in range(120):
        # A grid, so that there are ties.
        mean = float(rng.choice([math.nan, *np.linspace(0, 100, 30)]))
        sparsity = float(rng.integers(0, 20)) / 20
        status = str(rng.choice(["ok", "ok", "infeasible", "failed"]))
        made.append(
            dataclasses.replace(template, return_mean=mean, sparsity=sparsity, status=status)
        )
        best.add(made[-1])
        np.testing.assert_equal((best.best, best.sparsest_good), looked_at(made, floor))
    again = BestSoFar(made, floor)
    np.testing.assert_equal((again.best, again.sparsest_good), looked_at(made, floor))


def test_without_a_floor_no_policy_is_called_good(finished):
    best = BestSoFar(finished.snapshots, -math.inf)
    assert best.best == max(s.return_mean for s in finished.snapshots)
    assert math.isnan(best.sparsest_good)
