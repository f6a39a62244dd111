import numpy as np
import pytest
from scipy import stats

from benchmarks.shared.intervals import mean_difference, paired_comparisons, smallest_visible


def _samples(rng: np.random.Generator, means: list[float], seeds: int) -> list[np.ndarray]:
    return [rng.normal(mean, 1.0, seeds) for mean in means]


def _against_one(rng: np.random.Generator, means: list[float], seeds: int) -> list[np.ndarray]:
    """Differences of one strategy from several of these means below it: all share its runs."""
    ours = rng.normal(0.0, 1.0, seeds)
    return [ours - rng.normal(-mean, 1.0, seeds) for mean in means]


def _corrected(raw: list[float]) -> list[float]:
    """By its definition (Holm 1979): the largest of m·p₁, (m − 1)·p₂ … up to the own rank."""
    ordered = sorted(raw)
    return [
        min(1.0, max((len(raw) - k) * ordered[k] for k in range(ordered.index(p) + 1))) for p in raw
    ]


def _at_least(share: float, count: int) -> float:
    """A share, and twice the simulation's standard error of it below."""
    return share - 2 * np.sqrt(share * (1 - share) / count)


def test_p_values_follow_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        samples = _samples(rng, list(rng.uniform(-1.0, 1.0, 5)), 8)
        raw = [float(stats.ttest_1samp(sample, 0.0).pvalue) for sample in samples]
        found = [p for _, _, p in paired_comparisons(samples, 0.95)]
        assert found == pytest.approx(_corrected(raw))


def test_one_comparison_is_the_plain_paired_interval():
    sample = np.random.default_rng(1).normal(0.4, 1.0, 12)
    plain = stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    low, high, _ = paired_comparisons([sample], 0.9)[0]
    assert (low, high) == pytest.approx((plain.low, plain.high))


def test_an_interval_does_not_narrow_with_the_rank_of_its_comparison():
    sample = np.random.default_rng(2).normal(0.0, 1.0, 10)
    shifted = [sample + shift for shift in (5.0, 3.0, 1.0)]
    widths = [high - low for low, high, _ in paired_comparisons(shifted, 0.95)]
    assert widths == pytest.approx([widths[0]] * 3)


@pytest.mark.parametrize("means", [[0.0] * 5, [0.0, 0.5, 1.0, 2.0, 4.0], [3.0] * 4 + [0.0]])
def test_intervals_hold_all_true_differences_together(means):
    rng = np.random.default_rng(3)
    families = 2000
    held = 0
    for _ in range(families):
        found = paired_comparisons(_against_one(rng, means, 8), 0.95)
        held += all(low <= mean <= high for (low, high, _), mean in zip(found, means, strict=True))
    assert held / families >= _at_least(0.95, families)


def test_an_interval_without_zero_has_a_small_p_value():
    rng = np.random.default_rng(4)
    apart = 0
    for _ in range(300):
        for low, high, p in paired_comparisons(_against_one(rng, [0.0, 1.0, 2.0], 8), 0.95):
            if low > 0 or high < 0:
                apart += 1
                assert p <= 0.05
    assert apart


def test_p_values_err_in_no_more_families_than_allowed():
    rng = np.random.default_rng(5)
    families = 1000
    wrong = sum(
        any(p <= 0.05 for _, _, p in paired_comparisons(_against_one(rng, [0.0] * 5, 6), 0.95))
        for _ in range(families)
    )
    assert 1.0 - wrong / families >= _at_least(0.95, families)
    assert wrong


def test_too_little_to_tell_gives_nan():
    few = [np.array([1.0]), np.array([2.0, 2.0]), np.array([1.0, 2.0])]
    found = paired_comparisons(few, 0.95)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[2]).all()
    assert paired_comparisons([], 0.95) == []


def test_an_unpaired_interval_is_that_of_welch():
    one, other = _samples(np.random.default_rng(6), [0.0, 1.0], 7)
    plain = stats.ttest_ind(one, other[:4], equal_var=False).confidence_interval(0.95)
    assert mean_difference(one, other[:4])[1:] == pytest.approx((plain.low, plain.high))


def test_two_samples_that_do_not_vary_have_no_interval():
    difference, low, high = mean_difference([500.0, 500.0], [490.0, 490.0])
    assert difference == 10.0
    assert np.isnan([low, high]).all()
    assert np.isfinite(mean_difference([500.0, 500.0], [490.0, 450.0])).all()


@pytest.mark.parametrize(("pairs", "expected"), [(10, 0.996), (20, 0.660), (34, 0.495)])
def test_the_smallest_visible_difference_is_that_of_published_tables(pairs, expected):
    """Cohen's d of a paired t test at level 0.05 and power 0.8 (G*Power 3.1)."""
    assert smallest_visible(2.0, pairs) == pytest.approx(2.0 * expected, rel=0.01)


def test_it_is_found_in_four_of_five_experiments():
    rng = np.random.default_rng(0)
    shift = smallest_visible(1.5, 8, confidence=0.9)
    drawn = rng.normal(shift, 1.5, (4000, 8))
    lows = drawn.mean(1) - stats.t.ppf(0.95, 7) * drawn.std(1, ddof=1) / np.sqrt(8)
    assert np.mean(lows > 0) == pytest.approx(0.8, abs=0.02)
    assert np.isnan(smallest_visible(1.0, 1))
