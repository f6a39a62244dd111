"""Members' draws: theirs alone, the same again, distributed as they should be, and independent."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from rllib_ext.packed.distributions import distribution_for
from rllib_ext.packed.draws import Draws, Purpose

COUNT = 40_000
# A test of a fixed seed either passes or doesn't; one in ten thousand right generators would not.
RARE = 1e-4
KINDS = {
    "uniform": (Draws.uniform, scipy.stats.uniform),
    "gumbel": (Draws.gumbel, scipy.stats.gumbel_r),
    "normal": (Draws.normal, scipy.stats.norm),
}


def draws_of(*seeds, rollouts=1):
    draws = Draws(len(seeds))
    for member, seed in enumerate(seeds):
        draws.restart(member, seed)
    for _ in range(rollouts):
        draws.advance()
    return draws


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_follow_their_distribution(kind):
    draw, expected = KINDS[kind]
    for own in draw(draws_of(0, 1), Purpose.ACTIONS, (COUNT,)).numpy():
        assert scipy.stats.kstest(own, expected.cdf).pvalue > RARE
        mean, variance, skew, kurtosis = (float(m) for m in expected.stats(moments="mvsk"))
        # Four standard errors.
        assert own.mean() == pytest.approx(mean, abs=4 * (variance / COUNT) ** 0.5)
        error = ((kurtosis + 2) / COUNT) ** 0.5
        assert own.var() / variance == pytest.approx(1.0, abs=4 * error)
        assert scipy.stats.skew(own) == pytest.approx(skew, abs=0.1)


def test_words_fill_all_their_bits():
    words = draws_of(3).words(Purpose.ORDER, COUNT).numpy().ravel()
    assert 0 <= words.min() < 2**20
    assert 2**32 - 2**20 < words.max() < 2**32
    for bit in range(32):
        ones = int((words >> bit & 1).sum())
        assert scipy.stats.binomtest(ones, COUNT).pvalue > RARE


def test_numbers_are_finite_at_both_ends_of_what_a_word_can_be(monkeypatch):
    ends = [torch.tensor([[[0, 2**32 - 1]]])] * 4
    monkeypatch.setattr("rllib_ext.packed.draws.philox", lambda counter, key: ends)
    draws = draws_of(0)
    uniform = draws.uniform(Purpose.ACTIONS, (8,))
    assert float(uniform.min()) == 2.0**-33
    assert float(uniform.max()) == 1.0 - 2.0**-33
    for kind in ("gumbel", "normal"):
        assert bool(torch.isfinite(KINDS[kind][0](draws, Purpose.ACTIONS, (8,))).all())


def test_members_rollouts_purposes_and_parts_are_independent():
    found = {
        (seed, rollout, purpose, part): words
        for rollout in (1, 2)
        for purpose in Purpose
        for member, seed in enumerate((0, 1))
        for part, words in enumerate(
            draws_of(0, 1, rollouts=rollout).words(purpose, COUNT, parts=2)[member].double().numpy()
        )
    }
    for one, other in itertools.combinations(found, 2):
        a, b = found[one], found[other]
        assert scipy.stats.pearsonr(a, b).pvalue > RARE, (one, other)
        # Nor is one the other, moved along.
        assert len(np.intersect1d(a, b)) < 5, (one, other)
    for own in found.values():
        for lag in (1, 2, 3, 4):
            assert scipy.stats.pearsonr(own[lag:], own[:-lag]).pvalue > RARE


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_s_numbers_come_of_its_own_seed(kind):
    draw, shape = KINDS[kind][0], (5, 3)
    alone = draw(draws_of(7), Purpose.ACTIONS, shape)[0]
    among = draws_of(1, 2, 7, 3)
    assert torch.equal(draw(among, Purpose.ACTIONS, shape)[2], alone)
    # More of them begin with the same ones.
    more = draw(draws_of(7), Purpose.ACTIONS, (50, 3))[0]
    assert torch.equal(more[:5], alone)
    assert not torch.equal(draw(draws_of(8), Purpose.ACTIONS, shape)[0], alone)


def test_a_start_with_the_same_seed_gives_the_same_again_and_touches_nobody_else():
    draws = draws_of(4, 5)
    first = draws.words(Purpose.ACTIONS, 100)
    draws.advance()
    second = draws.words(Purpose.ACTIONS, 100)
    assert not torch.equal(first, second)
    draws.restart(1, 5)
    draws.advance()
    again = draws.words(Purpose.ACTIONS, 100)
    assert torch.equal(again[1], first[1])
    assert not torch.equal(again[0], second[0])
    assert torch.equal(again[0], draws_of(4, rollouts=3).words(Purpose.ACTIONS, 100)[0])


def test_parts_depend_neither_on_their_number_nor_on_how_much_is_drawn():
    draws = draws_of(4, 5, 6)
    some = draws.words(Purpose.ORDER, 11, parts=2, members=torch.tensor([0, 2]))
    many = draws.words(Purpose.ORDER, 40, parts=5)
    assert torch.equal(some, many[[0, 2], :2, :11])


def test_seeds_of_any_size_are_taken():
    words = draws_of(0, 2**32, 2**64, 2**100).words(Purpose.ACTIONS, 4)
    assert len({tuple(own.flatten().tolist()) for own in words}) == 4


@pytest.mark.parametrize(("discrete", "last"), [(True, 6), (False, 3)])
def test_noise_of_actions_is_a_number_for_each_logit_or_mean(discrete, last):
    kind = distribution_for(discrete=discrete)
    assert kind.noise(draws_of(0, 1), (10, 4), 6).shape == (2, 10, 4, last)


def test_actions_follow_their_logits():
    kind = distribution_for(discrete=True)
    logits = torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)
    drawn = kind(logits.expand(1, COUNT, 3)).sample(kind.noise(draws_of(11), (COUNT,), 3))
    expected = logits.softmax(0).numpy() * COUNT
    counts = np.bincount(drawn.flatten().numpy(), minlength=3)
    assert scipy.stats.chisquare(counts, expected).pvalue > RARE
