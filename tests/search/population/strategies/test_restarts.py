"""Members at their horizon, while some of the budget is left."""

import pytest
from pretended_search import Search, Trainer, by_id

from search.population.member import Member
from search.population.strategies.pareto_pbt import STARTS_A_MEMBER

pytestmark = pytest.mark.usefixtures("without_sync")

MEMBERS, SEGMENT, HORIZON = 5, 5_000, 20_000
BUDGET = 3 * MEMBERS * HORIZON
COPYING = ["pareto_pbt", "pbt", "selection"]


def searching(folder, **changes):
    """A search with three times the budget that takes its members to their horizon."""
    given = {"env_steps": BUDGET, "budget": {"env_steps": BUDGET, "horizon": HORIZON}}
    return Search(folder, **{"members": MEMBERS, "segments": 4, **given, **changes})


def restarts(search):
    """Segments of members that had come to their horizon."""
    reached, found = dict.fromkeys(range(MEMBERS), 0), []
    for segment in search.of_members:
        if reached[segment.member] >= HORIZON:
            found.append(segment)
        reached[segment.member] = segment.until_env_steps
    return found


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("strategy", COPYING)
def test_the_last_segment_is_trained_again_and_not_the_most_trained_for_an_iteration_each(
    tmp_path, strategy, slots
):
    search = searching(tmp_path, strategy=strategy).run(slots=slots)
    known = by_id(search)
    again = restarts(search)
    trained = [s.until_env_steps - known[s.parent].env_steps for s in again]
    # The budget ends within the last of them.
    assert min(trained[:-slots]) >= SEGMENT // 2
    assert min(known[s.parent].env_steps for s in again) >= HORIZON - SEGMENT
    assert BUDGET <= search.coordinator.spent["training"] <= BUDGET + MEMBERS * Trainer.ITERATION
    # Most of the budget goes there: what it makes is copied, too.
    assert len(again) > 3 * MEMBERS
    assert len({s.parent for s in again}) > MEMBERS
    made = {name for name, snapshot in known.items() if snapshot.segment >= 4}
    assert {s.parent for s in again} & made


@pytest.mark.parametrize("strategy", COPYING)
def test_what_restarts_make_does_not_pile_up_on_disk(tmp_path, strategy):
    most = [0]

    def look():
        most[0] = max(most[0], sum(1 for _ in tmp_path.glob("states/m*")))

    search = searching(tmp_path, strategy=strategy)
    search.run(slots=2, after_each=look)
    budget = {"env_steps": 2 * BUDGET, "horizon": HORIZON}
    search = searching(tmp_path, strategy=strategy, budget=budget)
    search.run(slots=2, after_each=look)
    assert len(search.archive.snapshots()) > 550
    assert search.coordinator.failures == []
    # As for a search that ends with its horizon: two segments of each member's, and what runs.
    assert MEMBERS * STARTS_A_MEMBER < most[0] <= MEMBERS * (2 * 5 + 1) + 2 * (5 + 2)


def test_an_iteration_longer_than_half_a_segment_leaves_something_to_start_from(tmp_path):
    """Clocks are 1,000 apart, segments 1,250: at the last one's start there are 250 or 1,250 left."""
    budget = {"env_steps": 60_000, "horizon": 5_000}
    search = Search(tmp_path, members=4, segments=4, env_steps=60_000, budget=budget).run()
    assert 60_000 <= search.coordinator.spent["training"] <= 64_000


def test_of_members_that_wait_for_each_other_who_knows_no_start_does_not_restart(tmp_path):
    search = searching(tmp_path, search={"synchronous": True}).run()
    strategy = search.coordinator._strategy
    last = search.archive.snapshots()[-1]
    knowing, unknowing = (
        Member(index, segment=segment, env_steps=HORIZON, last=last)
        for index, segment in ((0, last.segment + 1), (1, 1))
    )
    assert strategy.next_member([unknowing], [], BUDGET) is None
    assert strategy.next_member([unknowing, knowing], [], BUDGET) is knowing
    assert strategy.plan(knowing).source is not None


@pytest.mark.parametrize("floor", [None, 1e4])
@pytest.mark.parametrize("strategy", COPYING)
def test_the_budget_is_used_where_nobody_is_good_enough(tmp_path, strategy, floor):
    """Nobody retains what is asked for, or nobody is better than random: the best go on."""
    search = searching(tmp_path, strategy=strategy, search={"min_retained": 1.5})
    if floor is not None:
        search.coordinator._floor = floor
    search.run()
    assert BUDGET <= search.coordinator.spent["training"] <= BUDGET + MEMBERS * Trainer.ITERATION
    known = by_id(search)
    starts = {known[s.parent].status for s in restarts(search)}
    assert starts == {"ok" if floor is None else "infeasible"}
