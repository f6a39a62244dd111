"""One dense training, then levels."""

import pytest
from pretended_search import Search, by_id, events, trials_in

from rllib_ext.pruning.errors import RunError

pytestmark = pytest.mark.usefixtures("without_sync")

MEMBERS, BUDGET, SHARE = 5, 100_000, 0.3
DENSE_STEPS, RETRAIN = 30_000, 14_000


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        return Search(
            tmp_path_factory.mktemp("levels"),
            strategy="train_then_prune",
            members=MEMBERS,
            env_steps=BUDGET,
            search={"dense_share": SHARE},
        ).run(slots=3)


def test_one_policy_trains_densely_for_its_share_while_all_others_wait(done):
    dense = [s for s in done.archive.snapshots() if s.trial_number == -1]
    assert [s.env_steps for s in dense] == [1_000 * (i + 1) for i in range(30)]
    assert {(s.member, s.sparsity) for s in dense} == {(0, 0.0)}
    first_level = next(i for i, s in enumerate(done.of_members) if s.trial_number >= 0)
    assert {s.trial_number for s in done.of_members[:first_level]} == {-1}
    assert {s.until_env_steps for s in done.of_members[:first_level]} >= {DENSE_STEPS}


def test_every_member_prunes_that_policy_to_a_level_of_its_own(done):
    levels = sorted(events(done, "explore"), key=lambda e: e["member"])
    assert [e["member"] for e in levels] == list(range(MEMBERS))
    targets = [e["hyperparameters"]["pruning.final_sparsity"] for e in levels]
    # Even steps of log density from 0.5 to 0.005, both included.
    expected = [1 - 0.5 * (0.005 / 0.5) ** (i / 4) for i in range(MEMBERS)]
    assert targets == pytest.approx(expected)
    starts = [s for s in done.of_members if s.trial_number >= 0]
    end = next(s for s in done.archive.snapshots() if s.env_steps == DENSE_STEPS)
    first = {s.member: s for s in reversed(starts)}
    assert {s.parent for s in first.values()} == {end.snapshot_id}
    last = {s.member: s for s in done.archive.snapshots()}
    assert {s.env_steps for s in last.values()} == {DENSE_STEPS + RETRAIN}
    assert [last[m].sparsity for m in range(MEMBERS)] == pytest.approx(targets, abs=1e-3)


def test_the_schedule_is_run_over_what_a_level_is_trained_for(done):
    level = done.of_members[-1].pruning
    assert level["horizon"] == DENSE_STEPS + RETRAIN
    plain = done.config.pruning
    for name in ("begin", "end"):
        clock = level[name] * level["horizon"]
        assert clock == pytest.approx(DENSE_STEPS + getattr(plain, name) * RETRAIN)


def test_the_study_hears_of_the_levels_only(done):
    told = {t.number: t for t in trials_in(done.folder)}
    assert all(list(t.params) == ["1-pruning.final_sparsity"] for t in told.values())
    assert {t.user_attrs["member"] for t in told.values()} == set(range(MEMBERS))


def test_a_level_that_fails_begins_again_from_the_dense_policy(tmp_path):
    failing = []

    def fails(segment):
        first = segment.member == 2 and segment.trial_number >= 0 and not failing
        failing.extend([segment] if first else [])
        return "raise" if first else ""

    search = Search(tmp_path, strategy="train_then_prune", fails=fails).run()
    (replacement,) = events(search, "replacement")
    known = by_id(search)
    assert replacement["member"] == 2
    assert known[replacement["donor"]].trial_number == -1
    assert known[replacement["donor"]].sparsity == 0.0


def test_where_the_one_that_trains_densely_keeps_failing_another_does_it(tmp_path):
    search = Search(
        tmp_path, strategy="train_then_prune", fails=lambda s: "raise" if s.member == 0 else ""
    ).run()
    dense = {s.member for s in search.archive.snapshots() if s.trial_number == -1}
    assert dense == {0, 1}
    assert {s.member for s in search.of_members if s.trial_number >= 0} == {1, 2, 3}
    assert search.coordinator.spent["training"] > 60_000


def test_where_nobody_can_train_densely_the_search_fails(tmp_path):
    with pytest.raises(RunError, match="every member failed"):
        Search(
            tmp_path, strategy="train_then_prune", fails=lambda s: "raise" if s.member >= 0 else ""
        ).run()
