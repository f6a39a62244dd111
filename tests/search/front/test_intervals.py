import math
import warnings

import numpy as np
import pytest

from search.front.intervals import (
    interval,
    no_interval_note,
    probability_nondominated,
    resampled_means,
)
from search.store.archive import Evaluation


def evaluation(name, returns, first_seed=0):
    returns = [float(r) for r in returns]
    seeds = list(range(first_seed, first_seed + len(returns)))
    return Evaluation(
        snapshot_id=name, purpose="report", seeds=seeds, returns=returns, lengths=[1] * len(seeds)
    )


def capped(rng, size):
    """Mostly the cap, sometimes far below, as CartPole."""
    return np.where(rng.random(size) < 0.2, rng.uniform(100, 500, size), 500.0)


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng, size: rng.normal(50, 10, size), 50.0),
        (lambda rng, size: rng.exponential(30, size), 30.0),
        (capped, 500 - 0.2 * 200),
    ],
    ids=["normal", "skewed", "capped"],
)
def test_intervals_of_100_episodes_cover_at_93_to_97_percent(draw, mean):
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(600):
        episodes = evaluation("a", draw(rng, 100))
        means = resampled_means([episodes], rng, resamples=800)[:, 0]
        low, high = interval(episodes.returns, means)
        inside += low <= mean <= high
    # The simulation's own standard error is 0.9 points.
    assert 0.93 - 0.009 <= inside / 600 <= 0.97


@pytest.mark.parametrize("rare", [1, 2, 5])
def test_resamples_that_tie_with_the_mean_count_half_whatever_the_unit(rare):
    """Where few episodes differ many resamples tie, and rounding must not put them on one side."""
    returns = np.array([500.0] * (100 - rare) + [123.0] * rare)

    def limits(values):
        episodes = evaluation("a", values)
        means = resampled_means([episodes], np.random.default_rng(3))[:, 0]
        return np.array(interval(episodes.returns, means))

    whole = limits(returns)
    # Counts of the rare return decide by themselves: the exact share of ties.
    drawn = np.random.default_rng(3).multinomial(100, np.full(100, 0.01), size=4000)
    counts = drawn[:, 100 - rare :].sum(axis=1)
    lowest = 500 - 377 * np.quantile(counts, 1.0) / 100
    assert lowest <= whole[0] < returns.mean() < whole[1] <= 500.0
    for factor, offset in ((0.1, 0.0), (1 / 3, -70.0), (1e-3, 0.7)):
        assert limits(returns * factor + offset) == pytest.approx(whole * factor + offset, abs=1e-9)


def test_policies_with_the_same_seeds_are_drawn_together():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 50, 100)
    a, b = evaluation("a", luck), evaluation("b", luck + 1)
    apart = evaluation("c", luck + 1, first_seed=1000)
    means = resampled_means([a, b, apart], np.random.default_rng(1))
    assert np.ptp(means[:, 1] - means[:, 0]) < 1e-9
    assert np.std(means[:, 2] - means[:, 0]) > 3


def test_the_same_generator_gives_the_same_draws():
    episodes = evaluation("a", np.arange(20))
    first, second = (resampled_means([episodes], np.random.default_rng(3)) for _ in range(2))
    assert (first == second).all()


def test_episodes_that_do_not_vary_get_a_label_and_no_interval():
    rng = np.random.default_rng(0)
    episodes = evaluation("a", [500.0] * 100)
    means = resampled_means([episodes], rng)[:, 0]
    assert all(math.isnan(x) for x in interval(episodes.returns, means))
    note = no_interval_note(episodes.returns)
    assert "all 100 episodes returned 500" in note
    assert "3.0%" in note
    assert no_interval_note([500.0]) == "one episode: no interval"
    assert no_interval_note([500.0, 499.0]) == ""


def test_probability_counts_resamples_on_the_front():
    means = np.array([[10.0, 5.0, 1.0], [10.0, 11.0, 1.0], [10.0, 10.0, 1.0], [10.0, 5.0, -1.0]])
    chance = probability_nondominated(means, np.array([0.1, 0.5, 0.9]), np.zeros(4))
    assert chance == pytest.approx([0.5, 1.0, 0.75])


def test_equally_sparse_policies_share_a_tie():
    means = np.array([[10.0, 10.0], [10.0, 9.0]])
    chance = probability_nondominated(means, np.array([0.5, 0.5]), np.zeros(2))
    assert chance == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_returns_that_are_no_numbers_have_no_interval_and_are_not_said_to_be_equal(odd):
    """What a single policy plays is told whatever it returns: `prunefront evaluate POLICY`."""
    played = evaluation("policy", [1.0, odd, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        means = resampled_means([played], np.random.default_rng(0))[:, 0]
        assert np.isnan(interval(played.returns, means)).all()
    assert no_interval_note(played.returns) == "1 of 3 episodes returned no number: no interval"
