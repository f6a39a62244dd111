"""A population that grows: who begins when, from whom, and that nothing else changes."""

import collections

import pytest
from pretended_search import Search, Trainer, by_id, coordinated, events

from rllib_ext.pruning.errors import ConfigError
from search.config.sizes import sizes
from search.store.archive import Archive
from search.store.deletion import tidy

pytestmark = pytest.mark.usefixtures("without_sync")

MEMBERS = 8
ITERATION = Trainer.ITERATION
GROWING = {"members": MEMBERS, "segments": 8, "env_steps": 160_000, "search": {"founders": 0.25}}


def growing(folder, **changes):
    return Search(folder, **{**GROWING, **changes})


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        return growing(tmp_path_factory.mktemp("grown") / "out").run()


@pytest.mark.parametrize("founders", [0.05, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("members", [4, 8, 64])
@pytest.mark.parametrize("segments", [1, 5, 16])
def test_a_population_grows_by_the_same_factor_from_segment_to_segment(members, founders, segments):
    found = sizes(members, founders, segments)
    assert len(found) == segments
    assert list(found) == sorted(found)
    assert min(found) >= 2
    for k, size in enumerate(found):
        middle = (2 * k + 1) / (2 * segments)
        assert size == 2 or abs(size - members * founders ** (1 - middle)) <= 0.5
    if founders == 1.0:
        assert set(found) == {members}


def test_lineages_are_as_much_longer_as_fewer_begin():
    plain, config = coordinated(**{**GROWING, "search": {}}), coordinated(**GROWING)
    assert plain.horizon == 160_000 // MEMBERS
    assert 1.7 * plain.horizon < config.horizon < 2.0 * plain.horizon
    spent = sum(config.sizes) * config.segment_steps
    assert 160_000 - sum(config.sizes) * 2 <= spent <= 160_000
    # Where a strategy has no population, nobody waits.
    assert coordinated(**GROWING, strategy="random").horizon == plain.horizon
    assert coordinated(**GROWING, budget={"env_steps": 1_000, "horizon": 80}).horizon == 80


def test_waiting_for_each_other_and_beginning_later_contradict_each_other():
    with pytest.raises(ConfigError, match=r"search\.founders = 0\.25 .* leave one of them out"):
        coordinated(search={"founders": 0.25, "synchronous": True})


def test_founders_are_born_and_newcomers_copy_who_is_about_as_far(grown):
    config, known = grown.config, by_id(grown)
    first = {s.member: s for s in reversed(grown.of_members)}
    assert sorted(first) == list(range(config.sizes[-1]))
    reached = collections.defaultdict(int)
    for segment in grown.of_members:
        if segment is first[segment.member] and segment.member >= config.sizes[0]:
            donor = known[segment.parent]
            behind = min(reached.values())
            assert abs(donor.env_steps - behind) <= config.segment_steps + ITERATION
        elif segment is first[segment.member]:
            assert segment.parent == ""
        reached[segment.member] = segment.until_env_steps
    assert {e["member"] for e in events(grown, "exploit")} >= set(
        range(config.sizes[0], config.sizes[-1])
    )


def test_no_more_members_train_than_the_population_has_where_the_slowest_is(grown):
    config, begun = grown.config, {}
    for segment in grown.of_members:
        if segment.member not in begun:
            unfinished = [c for c in begun.values() if c < config.horizon]
            behind = min(unfinished, default=0 if not begun else config.horizon - 1)
            assert len(begun) < config.sizes[min(7, behind // config.segment_steps)]
        begun[segment.member] = segment.until_env_steps
    assert max(s.env_steps for s in grown.archive.snapshots()) >= config.horizon


@pytest.mark.parametrize("strategy", ["pareto_pbt", "gap_pbt", "pbt", "selection"])
@pytest.mark.parametrize("slots", [1, 3])
def test_the_budget_is_kept_and_all_of_it_is_used(tmp_path, strategy, slots):
    search = growing(tmp_path, strategy=strategy).run(slots=slots)
    trained = search.coordinator.spent["training"]
    assert 160_000 <= trained <= 160_000 + MEMBERS * ITERATION


def test_killed_and_resumed_it_is_the_search_that_it_was(tmp_path, grown):
    class Killed(BaseException):
        pass

    left = [7, 30, 2, 55]

    def kill():
        left[0] -= 1
        if left[0] == 0:
            left.pop(0)
            raise Killed

    folder = tmp_path / "killed"
    for _ in range(4):
        folder.mkdir(exist_ok=True)
        tidy(Archive(folder))
        with pytest.raises(Killed):
            growing(folder).run(after_each=kill if left else lambda: None)
    tidy(Archive(folder))
    again = growing(folder).run()
    whole = [(s.snapshot_id, s.parent, s.return_mean) for s in grown.archive.snapshots()]
    made = [(s.snapshot_id, s.parent, s.return_mean) for s in again.archive.snapshots()]
    assert made == whole[: len(made)]
    assert len(whole) - len(made) <= 4 * 3


def test_a_founder_that_fails_is_replaced_and_states_nobody_needs_are_removed(tmp_path):
    fails = {(0, 0): "raise", (1, 2): "nan"}
    search = growing(tmp_path, fails=lambda s: fails.get((s.member, s.segment), "")).run()
    assert len(search.coordinator.failures) == 2
    assert search.coordinator.spent["training"] >= 160_000
    # Those that wait hold nothing back: what the slowest has left behind is gone.
    kept = {p.name for p in (tmp_path / "states").iterdir()}
    clocks = {s.snapshot_id: s.env_steps for s in search.archive.snapshots()}
    assert kept
    assert min(clocks[name] for name in kept) > search.config.segment_steps


def test_killed_while_a_newcomer_is_far_behind_it_begins_again_from_its_donor(tmp_path):
    search = growing(tmp_path, env_steps=320_000)
    training, newcomer = {}, None
    while newcomer is None or len(training) > 1:
        while len(training) < MEMBERS and (segment := search.coordinator.decide()) is not None:
            training[segment.member] = segment, search.trainer.train(segment)
            if segment.segment == 0 and segment.state and newcomer is None:
                newcomer = segment
        for member, (segment, iterations) in list(training.items()):
            if segment is newcomer:
                continue
            try:
                search.coordinator.tell(segment, *next(iterations))
            except StopIteration:
                search.coordinator.end(segment)
                del training[member]
    assert len(search.archive.snapshots()) > 100
    tidy(Archive(tmp_path))
    resumed = growing(tmp_path, env_steps=320_000)
    again = resumed.coordinator.decide()
    assert (again.member, again.segment, again.state) == (newcomer.member, 0, newcomer.state)
    next(resumed.trainer.train(again))


def test_newcomers_do_not_copy_what_a_member_left_that_was_given_up(tmp_path):
    search = growing(
        tmp_path,
        members=10,
        search={"founders": 0.3},
        fails=lambda s: "raise" if s.member == 1 and s.segment > 0 else "",
    ).run()
    assert [f["member"] for f in search.coordinator.failures] == [1] * 3
    failed = next(i for i, s in enumerate(search.of_members) if (s.member, s.segment) == (1, 3))
    known = by_id(search)
    newcomers = [s for s in search.of_members[failed:] if s.segment == 0]
    assert newcomers
    for segment in newcomers:
        assert known[segment.parent].member != 1
