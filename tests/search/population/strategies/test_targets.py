"""Where newcomers set out for: sparsities that lie evenly over the range, above what is reached."""

import itertools
import math

import pytest
from pretended_search import Search, by_id, events

pytestmark = pytest.mark.usefixtures("without_sync")

TARGET = "pruning.final_sparsity"
LOW, HIGH = 0.5, 0.995
GROWING = {"members": 8, "segments": 8, "env_steps": 160_000, "search": {"founders": 0.25}}


def decades(sparsity):
    return -math.log10(1.0 - sparsity)


def shares(search, known=None):
    """Each newcomer's target as a share of what was left of the range, in decades of density."""
    found = {}
    for segment in search.of_members:
        if segment.member not in found:
            donor = (known or {}).get(segment.parent)
            low = decades(max(LOW, donor.sparsity if donor else 0.0))
            at = decades(segment.pruning["final_sparsity"])
            found[segment.member] = (at - low) / (decades(HIGH) - low)
    return [found[member] for member in sorted(found)]


@pytest.mark.parametrize("members", [4, 8, 32])
@pytest.mark.parametrize("strategy", ["pareto_pbt", "selection"])
def test_births_leave_no_gaps(tmp_path, members, strategy):
    search = Search(
        tmp_path, strategy=strategy, members=members, segments=2, env_steps=members * 4_000
    ).run()
    found = sorted(shares(search))
    assert len(found) == members
    gaps = [b - a for a, b in itertools.pairwise(found)]
    # Of an even spread they would all be 1 ÷ members; drawn one by one, the largest of 32 is 4 of it.
    assert max(gaps) * members < 2.7
    assert min(gaps) * members > 0.35


def test_another_seed_spreads_others(tmp_path):
    one, other = (
        shares(Search(tmp_path / str(seed), seed=seed, segments=1, env_steps=8_000).run())
        for seed in (0, 1)
    )
    assert not set(one) & set(other)


@pytest.mark.parametrize("strategy", ["pareto_pbt", "selection"])
def test_newcomers_of_a_growing_population_set_out_for_what_is_above_their_donor(
    tmp_path, strategy
):
    search = Search(tmp_path, strategy=strategy, **GROWING).run()
    found = shares(search, by_id(search))
    assert len(found) >= 6
    assert all(0.0 <= share <= 1.0 for share in found)
    first = found[0]
    for member, share in enumerate(found):
        turns = first + member * (math.sqrt(5.0) - 1.0) / 2.0
        assert share == pytest.approx(turns % 1.0, abs=1e-6)


def test_a_newcomer_of_selection_has_hyperparameters_of_its_own_and_a_clone_its_donors(tmp_path):
    search = Search(tmp_path, strategy="selection", **GROWING).run()
    told = {(e["member"], e["segment"]): e for e in events(search, "explore")}
    rates = {e["hyperparameters"]["training.lr"] for (_, s), e in told.items() if s == 0}
    assert len(rates) == len({member for member, segment in told if segment == 0}) >= 6
    assert {e["source"] for (_, segment), e in told.items() if segment > 0} <= {"inheritance"}


def test_the_scalar_s_population_draws_its_targets_one_by_one(tmp_path):
    spread = shares(Search(tmp_path / "a", segments=1, env_steps=8_000).run())
    drawn = shares(Search(tmp_path / "b", strategy="pbt", segments=1, env_steps=8_000).run())
    assert not set(spread) & set(drawn)
