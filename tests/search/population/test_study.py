"""The Optuna study: a trial a segment, closed whatever happens, on disk."""

import collections
import math
import os

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pretended_search import Search, trials_in

from search.config.parameter import ChoiceParameter, FloatParameter
from search.config.space import Space
from search.population.study import Study

pytestmark = pytest.mark.usefixtures("without_sync")


def test_the_study_has_a_trial_for_every_segment_and_hears_what_came_of_it(searched):
    told = {t.number: t for t in trials_in(searched.folder)}
    last = {key: own[-1] for key, own in _segments_of(searched.archive.snapshots()).items()}
    numbers = [s.trial_number for s in searched.of_members]
    assert len(set(numbers)) == len(numbers)
    for segment in searched.of_members:
        trial, snapshot = told[segment.trial_number], last[segment.member, segment.segment]
        assert trial.state == TrialState.COMPLETE
        assert trial.values == [snapshot.return_mean, snapshot.sparsity]
        assert trial.user_attrs["member"] == segment.member
        assert trial.user_attrs["segment"] == segment.segment
        assert trial.user_attrs["parent"] == segment.parent
        assert trial.params["training.lr"] == pytest.approx(segment.training["lr"], rel=1e-9)
        assert 1 - trial.params["1-pruning.final_sparsity"] == pytest.approx(
            segment.pruning["final_sparsity"], abs=1e-12
        )
    # What is left are proposals that had to be clipped: told as failed, entered anew.
    rest = [t for number, t in told.items() if number not in numbers]
    assert {t.state for t in rest} <= {TrialState.FAIL}


def test_the_study_hears_of_failures_and_nothing_stays_open(tmp_path):
    search = Search(tmp_path, fails=lambda s: "raise" if s.segment == 1 and s.member < 2 else "")
    search.run()
    failed = [s.trial_number for s in search.of_members if s.segment == 1 and s.member < 2]
    told = {t.number: t.state for t in trials_in(search.folder)}
    assert [told[number] for number in failed] == [TrialState.FAIL] * 2
    assert TrialState.RUNNING not in told.values()


def test_closing_marks_what_is_still_running_as_failed(tmp_path):
    search = Search(tmp_path)
    segments = [search.coordinator.decide() for _ in range(4)][1:]
    assert [t.state for t in trials_in(search.folder)].count(TrialState.RUNNING) == 3
    search.coordinator.close()
    told = {t.number: t.state for t in trials_in(search.folder)}
    assert [told[s.trial_number] for s in segments] == [TrialState.FAIL] * 3


def _segments_of(snapshots):
    found = collections.defaultdict(list)
    for snapshot in snapshots:
        found[snapshot.member, snapshot.segment].append(snapshot)
    return found


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_that_ended_are_in_a_generation_of_nsga2(tmp_path, share):
    search = {"sampler": "nsga2", "proposal_share": share}
    Search(tmp_path, members=6, segments=5, env_steps=120_000, search=search).run()
    ended = [t for t in trials_in(tmp_path) if t.state == TrialState.COMPLETE]
    key = "NSGAIISampler:generation"
    sizes = collections.Counter(t.system_attrs[key] for t in ended)
    assert sorted(sizes) == list(range(len(sizes)))
    assert len(sizes) > 2
    assert all(sizes[generation] >= 6 for generation in range(len(sizes) - 1))


SPACE = Space(
    {
        "pruning.final_sparsity": FloatParameter(
            type="float", low=0.5, high=0.99, scale="log_density"
        ),
        "pruning.criterion": ChoiceParameter(type="choice", choices=("magnitude", "gradient")),
        "training.lr": FloatParameter(type="float", low=1e-4, high=1e-2, scale="log"),
    }
)


def study(folder, sampler="tpe"):
    return Study(folder, "pretended", SPACE, sampler=sampler, startup_trials=4)


def test_a_proposal_is_clipped_before_the_study_hears_of_it(tmp_path):
    own = study(tmp_path)
    for seed in range(20):
        proposal = own.propose(seed, {"pruning.final_sparsity": 0.9})
        own.tell(proposal.trial_number, (1.0, 0.9))
        assert proposal.values["pruning.final_sparsity"] >= 0.9
    seen = [t for t in trials_in(tmp_path) if t.state == TrialState.COMPLETE]
    assert len(seen) == 20
    assert all(1 - t.params["1-pruning.final_sparsity"] >= 0.9 - 1e-12 for t in seen)


def test_a_proposal_for_a_lineage_inherits_what_belongs_to_it(tmp_path):
    own = study(tmp_path)
    donor = {"pruning.criterion": "gradient", "training.lr": 1e-3}
    proposals = [own.propose(seed, donor=donor) for seed in range(12)]
    assert {p.values["pruning.criterion"] for p in proposals} == {"gradient"}
    assert len({p.values["training.lr"] for p in proposals}) == 12
    used = [trials_in(tmp_path)[p.trial_number] for p in proposals]
    assert {t.params["pruning.criterion"] for t in used} == {"gradient"}


def test_a_proposal_within_reach_stays_near_the_donor_in_training_and_prunes_as_far_as_it_likes(
    tmp_path,
):
    own = study(tmp_path)
    donor = {"pruning.final_sparsity": 0.5, "pruning.criterion": "gradient", "training.lr": 1e-3}
    proposals = [own.propose(seed, donor=donor, reach=0.1) for seed in range(20)]
    places = [math.log10(p.values["training.lr"]) + 3.0 for p in proposals]
    assert max(map(abs, places)) == pytest.approx(0.1 * 2.0)
    assert len({round(place, 9) for place in places}) > 2
    assert max(p.values["pruning.final_sparsity"] for p in proposals) > 0.95
    used = [trials_in(tmp_path)[p.trial_number].params["training.lr"] for p in proposals]
    assert used == [p.values["training.lr"] for p in proposals]


def test_entered_values_are_used_to_the_last_bit(tmp_path):
    values = {"pruning.final_sparsity": 0.1 + 0.6, "pruning.criterion": "magnitude",
              "training.lr": 1e-2 / 3}  # fmt: skip
    assert study(tmp_path).enter(values).values == values


@pytest.mark.parametrize("objectives", [None, (math.nan, 0.5), (math.inf, 0.5)])
def test_what_cannot_be_ranked_is_told_as_failed(tmp_path, objectives):
    own = study(tmp_path)
    own.tell(own.propose(1).trial_number, objectives)
    assert [t.state for t in trials_in(tmp_path)] == [TrialState.FAIL]


def test_a_study_reopens_with_all_its_trials_and_goes_on(tmp_path):
    first = study(tmp_path)
    for i in range(3):
        first.tell(first.propose(i).trial_number, (float(i), 0.5))
    again = study(tmp_path)
    proposal = again.propose(3)
    again.tell(proposal.trial_number, (9.0, 0.9))
    assert proposal.trial_number == 3
    assert [t.values for t in trials_in(tmp_path)] == [
        [0.0, 0.5],
        [1.0, 0.5],
        [2.0, 0.5],
        [9.0, 0.9],
    ]


def test_what_a_killed_process_left_open_is_closed_with_what_is_known_of_it(tmp_path):
    first = study(tmp_path)
    numbers = [first.propose(i).trial_number for i in range(3)]
    # Killed between entering values and opening their trial.
    first._study.enqueue_trial({"training.lr": 1e-3})
    again = study(tmp_path)
    again.recover({numbers[1]: (5.0, 0.7)})
    told = [(t.state, t.values) for t in trials_in(tmp_path)]
    failed = (TrialState.FAIL, None)
    assert told == [failed, (TrialState.COMPLETE, [5.0, 0.7]), failed, failed]
    values = {"pruning.final_sparsity": 0.7, "pruning.criterion": "magnitude", "training.lr": 5e-3}
    assert again.enter(values).values == values
    assert trials_in(tmp_path)[4].params["training.lr"] == pytest.approx(5e-3)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_journal_that_a_crash_has_torn_opens_and_goes_on(tmp_path, cut):
    first = study(tmp_path)
    first.tell(first.propose(0).trial_number, (1.0, 0.5))
    first.propose(1)
    journal = tmp_path / "study.log"
    journal.write_bytes(journal.read_bytes()[:-cut])
    os.symlink(journal, tmp_path / "study.log.lock")
    again = study(tmp_path)
    again.recover({})
    again.tell(again.propose(2).trial_number, (2.0, 0.6))
    values = [t.values for t in trials_in(tmp_path) if t.state == TrialState.COMPLETE]
    assert values == [[1.0, 0.5], [2.0, 0.6]]


def test_a_proposal_depends_on_its_seed_and_the_trials_and_not_on_what_was_drawn_before(tmp_path):
    def filled(name):
        (tmp_path / name).mkdir()
        own = study(tmp_path / name)
        for i in range(8):
            own.tell(own.propose(i).trial_number, (float(i % 3), 0.5 + i / 20))
        return own

    first, other = filled("a"), filled("b")
    other.enter({"pruning.final_sparsity": 0.7, "pruning.criterion": "magnitude",
                 "training.lr": 1e-3})  # fmt: skip
    other.close()
    assert first.propose(99).values == study(tmp_path / "b").propose(99).values


def test_a_study_says_what_its_objectives_are(tmp_path):
    study(tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    read = optuna.load_study(study_name="pretended", storage=storage)
    assert read.metric_names == ["return", "sparsity"]
    assert [d.name for d in read.directions] == ["MAXIMIZE", "MAXIMIZE"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_the_same_seed_proposes_the_same(tmp_path, sampler):
    def proposed(folder, seed):
        folder.mkdir()
        own = study(folder, sampler)
        found = []
        for i in range(10):
            proposal = own.propose(100 * seed + i)
            own.tell(proposal.trial_number, (float(i % 4), proposal.values["training.lr"]))
            found.append(proposal.values)
        return found

    first = proposed(tmp_path / "a", 1)
    assert proposed(tmp_path / "b", 1) == first
    assert proposed(tmp_path / "c", 2) != first


def test_guided_proposals_learn_and_random_ones_do_not(tmp_path):
    def late_rates(folder, sampler):
        folder.mkdir()
        own = study(folder, sampler)
        rates = []
        for seed in range(60):
            proposal = own.propose(seed)
            rates.append(abs(math.log10(proposal.values["training.lr"]) + 3))
            own.tell(proposal.trial_number, (-rates[-1], 0.5))
        return sum(rates[30:]) / 30

    assert late_rates(tmp_path / "guided", "tpe") < 0.5 * late_rates(tmp_path / "random", "random")
