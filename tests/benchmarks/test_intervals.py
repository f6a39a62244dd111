import numpy as np
import pytest
from scipy import stats

from benchmarks.shared.intervals import holm_intervals


def _samples(rng: np.random.Generator, means: list[float], seeds: int) -> list[np.ndarray]:
    return [rng.normal(mean, 1.0, seeds) for mean in means]


def _corrected(raw: list[float]) -> list[float]:
    """By its definition (Holm 1979): the largest of m·p₁, (m − 1)·p₂ … up to the own rank."""
    ordered = sorted(raw)
    return [
        min(1.0, max((len(raw) - k) * ordered[k] for k in range(ordered.index(p) + 1))) for p in raw
    ]


def test_p_values_follow_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        samples = _samples(rng, list(rng.uniform(-1.0, 1.0, 5)), 8)
        raw = [float(stats.ttest_1samp(sample, 0.0).pvalue) for sample in samples]
        found = [p for _, _, p in holm_intervals(samples, 0.95)]
        assert found == pytest.approx(_corrected(raw))


def test_one_comparison_is_the_plain_paired_interval():
    sample = np.random.default_rng(1).normal(0.4, 1.0, 12)
    plain = stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    low, high, _ = holm_intervals([sample], 0.9)[0]
    assert (low, high) == pytest.approx((plain.low, plain.high))


def test_the_clearest_interval_is_the_widest_of_its_spread():
    sample = np.random.default_rng(2).normal(0.0, 1.0, 10)
    shifted = [sample + shift for shift in (5.0, 3.0, 1.0)]
    widths = [high - low for low, high, _ in holm_intervals(shifted, 0.95)]
    assert widths[0] > widths[1] > widths[2]


def test_errs_in_no_more_families_than_allowed():
    rng = np.random.default_rng(3)
    families = 1000
    wrong = 0
    for _ in range(families):
        found = holm_intervals(_samples(rng, [0.0] * 5, 6), 0.95)
        wrong += any(low > 0 or high < 0 for low, high, _ in found)
    # 5 %, and twice the simulation's standard error of it.
    assert wrong / families <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / families)
    assert wrong > 0


def test_too_little_to_tell_gives_nan():
    found = holm_intervals([np.array([1.0]), np.array([2.0, 2.0]), np.array([1.0, 2.0])], 0.95)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[2]).all()
