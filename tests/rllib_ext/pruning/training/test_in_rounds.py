"""Rankings in rounds: each weight's place is the one that it has among those left in its round."""

import itertools

import pytest
import torch

from rllib_ext.pruning.masks import full_masks, prune
from rllib_ext.pruning.training.in_rounds import scored_in_rounds


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(s, generator=generator).double() for n, s in (("a", (8, 9)), ("b", (30,)))
    }


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
def test_scores_that_do_not_change_give_the_ranking_that_they_are(scope):
    scores = drawn(0)
    masks = prune(drawn(1), full_masks(scores), scope="global", count=20)
    places = scored_in_rounds(lambda left: scores, masks, scope=scope, count=90)
    for count in (20, 25, 60, 90):
        expected = prune(scores, masks, scope=scope, count=count)
        found = prune(places, masks, scope=scope, count=count)
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    assert not any(bool(places[name][~mask].any()) for name, mask in masks.items())
    ranks = torch.cat([places[name][mask] for name, mask in masks.items()])
    assert sorted(ranks.tolist()) == list(range(1, 83))


def test_no_round_takes_more_than_a_tenth_of_what_is_left():
    seen = []

    def score(left):
        seen.append(sum(int(mask.sum()) for mask in left.values()))
        return drawn(len(seen))

    scored_in_rounds(score, full_masks(drawn(0)), scope="global", count=97)
    assert (seen[0], seen[-1]) == (102, 5)
    assert all(after >= min(0.9 * now, now - 1) for now, after in itertools.pairwise(seen))


def test_what_goes_first_is_scored_by_what_was_left_then():
    """One score is turned round after the first round."""

    def score(left):
        sign = 1.0 if bool(left["a"].all()) else -1.0
        return {"a": sign * torch.arange(20.0, dtype=torch.float64)}

    masks = {"a": torch.ones(20, dtype=torch.bool)}
    places = scored_in_rounds(score, masks, scope="global", count=5)["a"]
    assert places[:2].tolist() == [1.0, 2.0]
    assert places[2:].tolist() == [float(p) for p in range(20, 2, -1)]
