"""Members that set out for gaps of the front, under a pretended trainer."""

import numpy as np
import pytest
from pretended_search import CAP, RANDOM, Search, by_id, events

from search.population.gaps import depth
from search.population.strategies.gap_pbt import BACK, KEPT_A_MEMBER, THROUGH_THE_RANGE

pytestmark = pytest.mark.usefixtures("without_sync")

TARGET = "pruning.final_sparsity"
MEMBERS, SEGMENTS = 8, 10
DEEP = {
    TARGET: {"type": "float", "low": 0.5, "high": 0.999, "scale": "log_density"},
    "pruning.end": {"type": "float", "low": 0.3, "high": 1.0},
    "training.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "scale": "log"},
}


def searching(folder, seed=0, **changes):
    given = {
        "strategy": "gap_pbt", "members": MEMBERS, "segments": SEGMENTS, "env_steps": 320_000,
        "search": {"space": DEEP}, "seed": seed,
    }  # fmt: skip
    return Search(folder, **{**given, **changes})


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return searching(tmp_path_factory.mktemp("filled")).run(slots=3)


def of(search, event):
    return {(e["member"], e["segment"]): e for e in events(search, event)}


def test_who_sets_out_has_the_time_that_the_pace_asks_for(filled):
    known, starts, explored = by_id(filled), of(filled, "start"), of(filled, "explore")
    copies = of(filled, "exploit")
    horizon, through = filled.config.horizon, depth(DEEP[TARGET]["high"])
    latest = 1.0 - filled.config.segment_steps / horizon
    assert len(copies) >= 10
    for key in copies:
        donor, values = known[starts[key]["plan"]["parent"]], explored[key]["hyperparameters"]
        decades = depth(values[TARGET]) - depth(donor.sparsity)
        assert decades >= -1e-9
        needed = donor.env_steps / horizon + THROUGH_THE_RANGE / through * decades
        assert needed <= latest + 1e-9 or decades < 1e-9
        assert values["pruning.end"] >= min(needed, 1.0) - 1e-9


def test_some_start_from_denser_policies_and_some_from_earlier_ones_but_not_from_long_before(
    filled,
):
    known, copies = by_id(filled), of(filled, "exploit")
    last = {}
    denser = earlier = 0
    for segment in filled.of_members:
        own = last.get(segment.member)
        if (segment.member, segment.segment) in copies and own is not None:
            donor = known[segment.parent]
            denser += donor.sparsity < own.sparsity
            earlier += donor.env_steps < own.env_steps
            assert donor.env_steps >= BACK * own.env_steps
        ended = [
            s for s in known.values() if (s.member, s.segment) == (segment.member, segment.segment)
        ]
        last[segment.member] = max(ended, key=lambda s: s.env_steps)
    assert denser >= 3
    assert earlier >= 3


def test_a_lineage_goes_on_while_its_schedule_runs_and_nobody_beats_it(filled):
    """Most segments go on from the one before: gaps are filled by lineages, not by leaps."""
    known, copies = by_id(filled), of(filled, "exploit")
    later = [s for s in filled.of_members if s.segment > 0]
    going_on = [s for s in later if (s.member, s.segment) not in copies]
    assert len(going_on) > len(later) / 3
    assert all(known[s.parent].member == s.member for s in going_on)


def test_the_budget_is_not_spent_on_policies_that_have_lost_what_they_could(tmp_path):
    """Who never turns back ends among weights too few to act with, long before the budget does."""
    lost = {}
    for strategy in ("gap_pbt", "pareto_pbt"):
        shares = []
        for seed in range(6):
            search = searching(tmp_path / f"{strategy}{seed}", seed, strategy=strategy).run(slots=3)
            truth = np.array([s.objectives["truth"] for s in search.archive.snapshots()])
            late = truth[-len(truth) // 3 :]
            shares.append(np.mean(late < RANDOM + 0.1 * (CAP - RANDOM)))
        lost[strategy] = np.mean(shares)
    assert lost["gap_pbt"] < 0.5 * lost["pareto_pbt"], lost


def test_attempts_are_known_again_after_a_kill(tmp_path):
    search = searching(tmp_path, env_steps=100_000).run()
    first = search.coordinator._strategy
    again = searching(tmp_path, env_steps=100_000).coordinator._strategy
    assert again._tried == first._tried
    assert len(again._tried) >= MEMBERS
    assert again._steps.keys() == first._steps.keys()


def test_old_states_that_nobody_may_go_back_to_leave_the_disk(tmp_path):
    budget = {"env_steps": 1_000_000, "horizon": 40_000}
    most = [0]

    def look():
        most[0] = max(most[0], sum(1 for _ in tmp_path.glob("states/m*")))

    search = searching(tmp_path, env_steps=1_000_000, budget=budget)
    search.run(slots=2, after_each=look)
    assert len(search.archive.snapshots()) >= 1_000
    assert most[0] < (KEPT_A_MEMBER + 4) * MEMBERS


def test_where_the_sparsity_is_not_searched_it_is_pareto_pbt(tmp_path):
    space = {"training.lr": DEEP["training.lr"]}
    options = {"search": {"space": space}, "env_steps": 80_000}
    copied = {}
    for strategy in ("gap_pbt", "pareto_pbt"):
        search = searching(tmp_path / strategy, strategy=strategy, **options).run()
        copied[strategy] = [
            (e["member"], e["segment"], e["donor"]) for e in events(search, "exploit")
        ]
    assert copied["gap_pbt"] == copied["pareto_pbt"]
    assert copied["gap_pbt"]
