"""What holds of every strategy: budget, determinism, kills, candidates, the study."""

import json
import os
import random

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pretended_search import Search, Trainer, by_id, coordinated, trials_in

from rllib_ext.member.segment import DENSE
from rllib_ext.pruning.errors import ConfigError
from search.population.strategies import STRATEGIES
from search.store.archive import Archive
from search.store.deletion import tidy

pytestmark = pytest.mark.usefixtures("without_sync")

ITERATION = Trainer.ITERATION
EVERY = pytest.mark.parametrize("strategy", STRATEGIES)
NEW = pytest.mark.parametrize(
    "strategy", ["gap_pbt", "optuna", "pbt", "selection", "train_then_prune"]
)


def told(search):
    """What a search made, but for times and the numbers of repeated trials."""
    return [
        {**vars(s), "wall_time": 0.0, "trial_number": 0, "state": ""}
        for s in search.archive.snapshots()
    ]


@EVERY
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(("env_steps", "segments"), [(80_000, 4), (50_500, 3), (37_700, 7)])
def test_the_budget_is_kept_to_within_an_iteration_a_member(
    tmp_path, strategy, slots, env_steps, segments
):
    search = Search(tmp_path, strategy=strategy, env_steps=env_steps, segments=segments)
    search.run(slots=slots)
    trained = search.coordinator.spent["training"]
    assert env_steps <= trained <= env_steps + 4 * ITERATION
    assert trained == ITERATION * len(search.archive.snapshots())
    assert search.coordinator.progress.env_steps == trained


@NEW
def test_with_one_slot_a_search_repeats_itself_and_with_another_seed_it_does_not(
    tmp_path, strategy
):
    first, second, other = (
        Search(tmp_path / name, strategy=strategy, members=5, seed=seed).run()
        for name, seed in (("a", 9), ("b", 9), ("c", 10))
    )
    assert first.archive.events() == second.archive.events()
    assert told(first) == told(second)
    assert told(first) != told(other)


@NEW
def test_killed_and_resumed_a_search_is_the_one_it_was(tmp_path, strategy):
    """Killed between two iterations, where nothing more is written."""
    options = {"strategy": strategy, "members": 5, "segments": 3, "env_steps": 36_000, "seed": 3}
    whole = told(Search(tmp_path / "whole", **options).run())

    class Killed(BaseException):
        pass

    rng = random.Random(strategy)
    folder, left = tmp_path / "killed", [rng.randint(1, 12) for _ in range(4)]

    def kill():
        if left:
            left[0] -= 1
            if left[0] == 0:
                left.pop(0)
                raise Killed

    kills = 0
    while True:
        folder.mkdir(exist_ok=True)
        tidy(Archive(folder))
        search = Search(folder, **options)
        try:
            search.run(after_each=kill)
            break
        except Killed:
            kills += 1
    assert kills == 4
    made = told(search)
    # What was trained twice is missing at the end.
    assert made == whole[: len(made)]
    assert len(whole) - len(made) <= 4 * 3
    assert {t.state for t in trials_in(folder)} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert Search(folder, **options).coordinator.finished


@NEW
def test_a_member_that_fails_is_replaced_and_the_others_go_on(tmp_path, strategy):
    fails = {(1, 1): "raise", (2, 0): "nan", (0, 1): "raise"}
    search = Search(
        tmp_path, strategy=strategy, members=5, fails=lambda s: fails.get((s.member, s.segment), "")
    ).run()
    assert 80_000 <= search.coordinator.spent["training"] <= 80_000 + 5 * ITERATION
    assert len(search.coordinator.failures) == 3
    known = by_id(search)
    for segment in search.of_members:
        assert not segment.parent or known[segment.parent].usable


@EVERY
def test_a_trial_carries_member_parent_and_env_steps_and_opens_in_optuna(tmp_path, strategy):
    search = Search(tmp_path, strategy=strategy, members=5).run()
    used = {s.trial_number: s for s in reversed(search.of_members) if s.trial_number >= 0}
    found = {t.number: t for t in trials_in(tmp_path)}
    assert used
    for number, segment in used.items():
        attributes = found[number].user_attrs
        assert attributes["member"] == segment.member
        assert attributes["parent"] == segment.parent
        source = by_id(search)[segment.parent].env_steps if segment.parent else 0
        assert attributes["env_steps"] == source
    complete = [t for t in found.values() if t.state == TrialState.COMPLETE]
    assert {t.number for t in complete} == set(used)
    last = {s.trial_number: s for s in search.archive.snapshots()}
    assert all(t.values == [last[t.number].return_mean, last[t.number].sparsity] for t in complete)


@EVERY
def test_further_objectives_are_told_to_the_study_in_their_own_direction(tmp_path, strategy):
    names = ("return", "sparsity", "units", "params", "macs", "bytes", "latency")
    search = Search(tmp_path, strategy=strategy, search={"objectives": names}).run()
    assert search.coordinator.spent["training"] == 80_000
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.load_study(study_name="pretended", storage=storage)
    assert study.metric_names == list(names)
    assert [d.name for d in study.directions] == ["MAXIMIZE"] * 3 + ["MINIMIZE"] * 4
    last = {s.trial_number: s for s in search.archive.snapshots()}
    for trial in (t for t in study.trials if t.state == TrialState.COMPLETE):
        objectives = last[trial.number].objectives
        assert trial.values[2:] == [objectives[name] for name in names[2:]]


def test_strategies_differ_in_nothing_but_the_setting():
    configs = [coordinated(strategy=strategy) for strategy in STRATEGIES]
    plain = [json.loads(c.model_dump_json()) for c in configs]
    assert {p["search"].pop("strategy") for p in plain} == set(STRATEGIES)
    assert all(p == plain[0] for p in plain)


def test_a_strategy_that_nobody_knows_is_named_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"search\.strategy = 'evolution'.*'train_then_prune'"):
        coordinated(strategy="evolution")


@pytest.mark.parametrize("strategy", ["pareto_pbt", "random"])
def test_a_budget_in_seconds_ends_a_search_and_earlier_processes_count(tmp_path, strategy):
    """Every iteration takes a second; the pretended trainer goes on to a segment's end."""
    now = [1_000.0]
    budget = {"seconds": 60.0, "horizon": 12_000}
    options = {"strategy": strategy, "budget": budget, "clock": lambda: now[0]}

    def tick(interrupted_at):
        def after_each():
            now[0] += 1.0
            if now[0] >= interrupted_at:
                raise KeyboardInterrupt

        return after_each

    first = Search(tmp_path, **options)
    with pytest.raises(KeyboardInterrupt):
        first.run(after_each=tick(1_040.0))
    now[0] = 5_000.0
    again = Search(tmp_path, **options)
    assert again.coordinator.seconds_left == pytest.approx(21.0, abs=2.0)
    again.run(after_each=tick(9_000.0))
    assert again.coordinator.finished
    assert again.coordinator.progress.over
    segment = again.config.segment_steps // ITERATION
    assert 20.0 <= now[0] - 5_000.0 <= 22.0 + 2 * segment


def test_the_first_of_two_limits_that_is_reached_ends_the_search(tmp_path):
    search = Search(tmp_path, budget={"env_steps": 20_000, "seconds": 1e6}).run()
    assert 20_000 <= search.coordinator.spent["training"] <= 24_000
    assert any(s.member == DENSE for s in search.segments)
    assert os.path.isfile(tmp_path / "study.log")
