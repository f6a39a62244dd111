"""Plain policies against the front's points: who is compared, the interval, and who is named."""

import math

import numpy as np
import pandas as pd
import pytest

from search.front.intervals import resampled_means
from search.front.rivals import named_rival, nearest_points, rivals_of
from search.store.archive import Baseline, Evaluation

SEEDS = list(range(200))
RNG = np.random.default_rng(0)
LUCK = RNG.normal(size=200) * 50
POINTS = [
    {"snapshot_id": "large", "nonzero_params": 40},
    {"snapshot_id": "small", "nonzero_params": 9},
]


def played(name, mean, noise=1.0, seeds=SEEDS):
    # An easy seed is easy for all: what differs by seed is far less than what each episode does.
    returns = mean + LUCK + noise * np.random.default_rng(len(name)).normal(size=200)
    return Evaluation(
        snapshot_id=name, purpose="report", seeds=seeds, returns=returns.tolist(), lengths=[1] * 200
    )


def plain(name, weights, kind="small_dense", unit="weights"):
    return Baseline(
        name=name, description="", env_steps=1, wall_time=0.0, search_return=0.0, kind=kind,
        nonzero_params=weights, unit=unit,
    )  # fmt: skip


def compared(*evaluations, baselines, kept=None):
    figures = {e.snapshot_id: e for e in evaluations}
    means = resampled_means(list(figures.values()), np.random.default_rng(0)).T
    resampled = dict(zip(figures, means, strict=True))
    return rivals_of(POINTS, {b.name: b for b in baselines}, figures, resampled, kept or {})


ENDS = played("large", 100.0), played("small", 90.0)


def test_a_point_is_compared_with_trained_policies_that_are_no_larger():
    baselines = [plain("a", 9), plain("b", 10), plain("c", 41), plain("dense", 8, kind="")]
    rivals = compared(*ENDS, *(played(b.name, 95.0) for b in baselines), baselines=baselines)
    pairs = set(zip(rivals["snapshot_id"], rivals["baseline"], strict=True))
    assert pairs == {("large", "a"), ("large", "b"), ("small", "a")}
    nearest = nearest_points(rivals, pd.DataFrame(POINTS))
    assert {name: row["snapshot_id"] for name, row in nearest.items()} == {
        "a": "small",
        "b": "large",
    }


def test_the_interval_is_of_differences_by_seed():
    rivals = compared(*ENDS, played("a", 91.0), baselines=[plain("a", 9)])
    row = rivals[rivals["snapshot_id"] == "small"].iloc[0]
    assert row["paired"]
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    # Each mean by itself has an interval of some ±7.
    assert row["difference_high"] - row["difference_low"] < 1.0
    assert row["difference"] == pytest.approx(1.0, abs=0.3)
    assert row["difference_low"] > 0


def test_on_other_seeds_the_interval_is_that_of_two_samples():
    other = played("a", 91.0, seeds=[s + 1000 for s in SEEDS])
    row = compared(*ENDS, other, baselines=[plain("a", 9)]).iloc[-1]
    assert not row["paired"]
    width = row["difference_high"] - row["difference_low"]
    assert width == pytest.approx(2 * 1.96 * math.sqrt(2) * LUCK.std() / math.sqrt(200), rel=0.15)


def test_the_same_return_on_every_seed_is_a_difference_of_nothing():
    same = played("a", 0.0)
    same = Evaluation(**{**vars(same), "returns": ENDS[1].returns})
    row = compared(*ENDS, same, baselines=[plain("a", 9)]).iloc[-1]
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (0.0, 0.0, 0.0)


def named(means, kept=(), noise=1.0):
    """Who is named beside the small point, of networks of as many weights as their names say."""
    baselines = [plain(str(weights), weights) for weights in means]
    rivals = compared(
        *ENDS,
        *(played(str(weights), mean, noise) for weights, mean in means.items()),
        baselines=baselines,
        kept={str(weights): 1.0 if weights in kept else 0.5 for weights in means},
    )
    found = named_rival(rivals, "small", "keeps_95")
    return found and (found["baseline"], found["how"])


def test_the_smallest_that_is_better_is_named_first():
    assert named({3: 80.0, 5: 95.0, 7: 99.0, 9: 80.0}, kept=[3]) == ("5", "better")


def test_then_the_smallest_that_keeps_the_same_share():
    assert named({3: 80.0, 5: 85.0, 7: 86.0}, kept=[5, 7]) == ("5", "keeps")


def test_then_what_the_interval_cannot_tell_apart():
    assert named({5: 89.5, 7: 89.9}, noise=20.0) == ("7", "even")


def test_what_is_worse_and_keeps_less_is_not_named():
    assert named({5: 80.0, 7: 85.0}) is None
    assert named({}) is None
