"""Whole trainings that copy nobody."""

import collections
import math

import pytest
from optuna.trial import TrialState
from pretended_search import Search, by_id, coordinated, events, trials_in

from search.population.strategies.independent import Optuna

pytestmark = pytest.mark.usefixtures("without_sync")


@pytest.fixture(scope="module", params=["optuna", "random"])
def lineages(request, tmp_path_factory):
    """A search whose lineages are half as long as there is budget a member."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        budget = {"env_steps": 160_000, "horizon": 20_000}
        folder = tmp_path_factory.mktemp(request.param)
        return Search(folder, strategy=request.param, budget=budget, seed=2).run(slots=2)


def by_trial(search):
    found = collections.defaultdict(list)
    for snapshot in search.archive.snapshots():
        found[snapshot.trial_number].append(snapshot)
    return found


def test_every_lineage_is_one_trial_from_a_fresh_policy_to_the_horizon(lineages):
    found = by_trial(lineages)
    assert len(found) == 8
    for own in found.values():
        assert [s.env_steps for s in own] == [1_000 * (i + 1) for i in range(20)]
        assert own[0].parent == ""
        assert {s.member for s in own} == {own[0].member}
        assert all(s.hyperparameters == own[0].hyperparameters for s in own)
    drawn = {tuple(own[0].hyperparameters.items()) for own in found.values()}
    assert len(drawn) == 8


def test_a_lineage_goes_on_from_its_own_last_snapshot_and_copies_nobody(lineages):
    known = by_id(lineages)
    assert not events(lineages, "exploit") + events(lineages, "replacement")
    for segment in lineages.of_members:
        if segment.parent:
            parent = known[segment.parent]
            assert (parent.member, parent.trial_number) == (segment.member, segment.trial_number)


def test_a_lineage_is_told_once_at_its_horizon(lineages):
    found = by_trial(lineages)
    trials = {t.number: t for t in trials_in(lineages.folder)}
    for number, own in found.items():
        assert trials[number].state == TrialState.COMPLETE
        assert trials[number].values == [own[-1].return_mean, own[-1].sparsity]


def test_what_has_begun_ends_before_more_begins(lineages):
    """With two slots never more than two lineages are open, so that later proposals know the most."""
    open_, most = set(), 0
    horizon = lineages.config.horizon
    ends = {(s.trial_number, s.segment): s.env_steps for s in lineages.archive.snapshots()}
    for segment in lineages.of_members:
        open_.add(segment.trial_number)
        most = max(most, len(open_))
        if ends[segment.trial_number, segment.segment] >= horizon:
            open_.discard(segment.trial_number)
    assert most <= 2


def test_optuna_proposals_learn_from_earlier_lineages(tmp_path):
    """The pretended trainer learns best at 3e-3; random draws are spread over 4 decades."""
    budget = {"env_steps": 480_000, "horizon": 10_000}
    distance = {}
    for strategy in ("optuna", "random"):
        search = Search(tmp_path / strategy, strategy=strategy, budget=budget, segments=1).run()
        births = [e["hyperparameters"]["training.lr"] for e in events(search, "explore")]
        late = births[len(births) // 2 :]
        distance[strategy] = sum(abs(math.log10(lr / 3e-3)) for lr in late) / len(late)
    assert distance["optuna"] < 0.7 * distance["random"]


def test_a_small_population_still_gets_proposals_that_learn():
    startup = {
        m: Optuna.startup_trials(coordinated(strategy="optuna", members=m)) for m in (1, 4, 8, 64)
    }
    assert startup == {1: 2, 4: 2, 8: 4, 64: 10}


@pytest.mark.parametrize("strategy", ["optuna", "random"])
def test_a_state_that_a_retry_writes_anew_stays(tmp_path, strategy):
    search = Search(tmp_path, strategy=strategy)
    (one, iterations), (other, others) = search.begin(2)
    for _ in range(2):
        search.coordinator.tell(one, *next(iterations))
    search.coordinator.note_retry(one, "a worker died")
    iterations = search.trainer.train(one)
    search.coordinator.tell(one, *next(iterations))
    result, snapshot = next(iterations)
    # Written, and not told yet, when another's segment ends.
    for each in others:
        search.coordinator.tell(other, *each)
    search.coordinator.end(other)
    assert (tmp_path / snapshot["state"]).is_dir()
    search.coordinator.tell(one, result, snapshot)
    search.coordinator.close()
    assert (tmp_path / snapshot["state"]).is_dir()
