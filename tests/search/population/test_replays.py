"""Replays under a pretended trainer: the same scheduler's questions, no Ray."""

import json
import os

import pytest
from click.testing import CliRunner
from pretended_search import RANDOM, Search, Trainer, by_id, coordinated, events

import search
import search.runs.retrain
from rllib_ext.pruning.errors import ConfigError, ResultsError, RunError
from search.cli.main import cli
from search.front.lineage import ancestors, plans_of
from search.population.progress import GOOD_LOSS
from search.population.replays import Replays, chosen_points, plan_replays
from search.store.archive import Archive
from search.store.recipe_archive import archive_of, replays_by_member

SLOTS = 3


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def points(searched):
    """The policies with the longest lineages of the search."""
    known = by_id(searched)
    ordered = sorted(known.values(), key=lambda s: (-len(ancestors(s, known)), s.snapshot_id))
    return [s.snapshot_id for s in ordered[:2]]


class Check:
    """A recipe check with a pretended trainer."""

    def __init__(self, folder, searched, points, seeds, fails=lambda segment: ""):
        folder.mkdir(exist_ok=True)
        self.archive = Archive(folder)
        known = by_id(searched)
        self.replays = plan_replays(
            self.archive, list(known.values()), plans_of(searched.archive.events()), points, seeds
        )
        self.coordinator = Replays(searched.config, self.archive, self.replays, known, RANDOM)
        self.trainer = Trainer(folder, fails)
        self.segments = []

    def run(self, stop_after=None):
        """To the end, or until so many iterations are told; stages take turns, an iteration each."""
        running, told = [], 0
        while not self.coordinator.finished:
            while len(running) < SLOTS and (segment := self.coordinator.decide()) is not None:
                self.segments.append(segment)
                running.append((segment, self.trainer.train(segment)))
            for each in list(running):
                segment, iterations = each
                try:
                    self.coordinator.tell(segment, *next(iterations))
                    told += 1
                except StopIteration:
                    running.remove(each)
                    self.coordinator.end(segment)
                except RuntimeError as error:
                    running.remove(each)
                    self.coordinator.end(segment, str(error))
                if told == stop_after:
                    return self
        return self

    @property
    def policies(self):
        return {p.name for p in (self.archive.folder / "policies").glob("*")}


@pytest.fixture(scope="module")
def check(tmp_path_factory, searched, points):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        return Check(tmp_path_factory.mktemp("check"), searched, points, 3).run()


def test_stages_are_the_search_s_own_segments_up_to_where_the_lineage_left_them(
    check, searched, points
):
    known = by_id(searched)
    plans = {(e["member"], e["segment"]): e["plan"] for e in events(searched, "start")}
    for replay in check.replays:
        passed = [replay.point, *ancestors(known[replay.point], known)][::-1]
        own = sorted(
            (s for s in check.segments if s.member == replay.member), key=lambda s: s.segment
        )
        assert len(own) == len(passed)
        for segment, name in zip(own, passed, strict=True):
            plan = plans[known[name].member, known[name].segment]
            assert json.loads(json.dumps(segment.pruning)) == plan["pruning"]
            assert segment.training == plan["training"]
            assert segment.until_env_steps == known[name].env_steps <= plan["until_env_steps"]
        assert own[0].state == ""
        assert all(segment.state for segment in own[1:])
    assert {replay.point for replay in check.replays} == set(points)


def test_a_policy_that_was_trained_first_and_then_pruned_is_replayed_so(tmp_path):
    searched = Search(
        tmp_path / "search", strategy="train_then_prune", members=3, segments=3, env_steps=60_000
    ).run()
    known = by_id(searched)
    point = max(known.values(), key=lambda s: (s.env_steps, s.sparsity))
    assert point.sparsity > 0.9
    check = Check(tmp_path / "check", searched, [point.snapshot_id], 1).run()
    # The pretended trainer prunes by the plan alone: what was dense until then is again.
    (end,) = check.coordinator.done.values()
    assert (end.env_steps, end.sparsity) == (point.env_steps, point.sparsity)
    assert check.segments[0].pruning["final_sparsity"] == 0.0
    planned = [e["plan"]["pruning"] for e in events(searched, "start")]
    assert all(json.loads(json.dumps(s.pruning)) in planned for s in check.segments)


def test_every_seed_is_a_fresh_one(check, searched):
    own = [s.seed for s in check.segments]
    assert len(own) == len(set(own))
    played = {seed for s in check.segments for seed in s.evaluation_seeds}
    searched_seeds = {s.seed for s in searched.segments}
    searched_seeds |= {seed for s in searched.segments for seed in s.evaluation_seeds}
    assert not searched_seeds & {*own, *played}
    assert not set(own) & played


def test_each_replay_ends_with_its_policy_and_no_training_state(check):
    done = check.coordinator.done
    assert set(done) == {replay.member for replay in check.replays}
    assert check.policies == {s.snapshot_id for s in done.values()}
    assert list((check.archive.folder / "states").glob("*")) == []
    assert check.coordinator.spent == sum(replay.env_steps for replay in check.replays)
    assert check.coordinator.progress.env_steps == check.coordinator.progress.budget


def test_a_good_policy_is_measured_from_the_search_s_floor(check):
    ends = check.archive.snapshots()
    best = max(s.return_mean for s in ends)
    good = [s.sparsity for s in ends if s.return_mean >= best - GOOD_LOSS * (best - RANDOM)]
    assert max(good) < max(s.sparsity for s in ends)
    assert check.coordinator.progress.sparsest_good == max(good)


def test_a_check_takes_the_search_s_floor(tmp_path, monkeypatch, simulate):
    class ToldError(Exception):
        pass

    def told(config, archive, replays, by_id, floor):
        raise ToldError(floor)

    world = simulate(tmp_path / "a", members=4, segments=3)
    monkeypatch.setattr(search.runs.retrain, "load_config_of", lambda folder: coordinated())
    monkeypatch.setattr(search.runs.retrain, "plan_replays", lambda *arguments: [])
    monkeypatch.setattr(search.runs.retrain, "Replays", told)
    with pytest.raises(ToldError) as error:
        search.runs.retrain.run_retrain(
            world.folder, ["all"], 1, command=["prunefront"], display=None
        )
    assert error.value.args == (search.load(world.folder).confirmed.scale.floor,)


@pytest.mark.parametrize("stop_after", [1, 7, 40, 61])
def test_what_was_interrupted_goes_on_and_gives_the_same_policies(
    tmp_path, check, searched, points, stop_after
):
    first = Check(tmp_path / "a", searched, points, 3).run(stop_after)
    stages = len(first.archive.snapshots())
    again = Check(tmp_path / "a", searched, points, 3).run()
    assert len(again.segments) == len(check.segments) - stages
    for member, snapshot in check.coordinator.done.items():
        found = again.coordinator.done[member]
        assert (found.returns, found.nonzero_params) == (snapshot.returns, snapshot.nonzero_params)
    assert again.policies == check.policies
    assert Check(tmp_path / "a", searched, points, 3).coordinator.finished


def test_more_points_and_seeds_are_added_and_draw_the_same(tmp_path, check, searched, points):
    Check(tmp_path / "a", searched, points[1:], 1).run()
    more = Check(tmp_path / "a", searched, points, 3).run()
    assert len({s.member for s in more.segments}) == 5
    by_key = {(r.point, r.index): check.coordinator.done[r.member] for r in check.replays}
    for replay in more.replays:
        own = more.coordinator.done[replay.member]
        assert own.returns == by_key[replay.point, replay.index].returns
    assert set(replays_by_member(more.archive).values()) == set(by_key)


def test_a_replay_whose_state_has_gone_begins_anew(tmp_path, searched, points):
    first = Check(tmp_path / "a", searched, points[:1], 1).run(stop_after=20)
    assert first.archive.snapshots()
    for state in (tmp_path / "a" / "states").glob("*"):
        (state / "state.json").unlink()
        state.rmdir()
    again = Check(tmp_path / "a", searched, points[:1], 1).run()
    assert again.segments[0].state == ""
    assert again.coordinator.done[0].env_steps == again.replays[0].env_steps


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_failed_replay_is_told_and_the_others_go_on(tmp_path, searched, points, how):
    def fails(segment):
        return how if (segment.member, segment.segment) == (1, 1) else ""

    check = Check(tmp_path / "a", searched, points, 2, fails).run()
    assert set(check.coordinator.done) == {0, 2, 3}
    assert check.coordinator.progress.failures == 1
    (failure,) = (e for e in check.archive.events() if e["event"] == "failure")
    assert (failure["member"], failure["segment"]) == (1, 1)
    # Run again, it is tried again, from its last whole stage.
    again = Check(tmp_path / "a", searched, points, 2).run()
    assert {(s.member, s.segment) for s in again.segments} >= {(1, 1)}
    assert {s.member for s in again.segments} == {1}
    assert 0 not in {s.segment for s in again.segments}
    assert set(again.coordinator.done) == {0, 1, 2, 3}


def test_where_every_replay_fails_the_run_says_why(tmp_path, searched, points):
    check = Check(tmp_path / "a", searched, points, 1, lambda segment: "raise")
    with pytest.raises(RunError, match="every replay failed; the last: the environment died"):
        check.run()


def test_a_retried_stage_begins_at_its_start(tmp_path, searched, points):
    check = Check(tmp_path / "a", searched, points[:1], 1)
    segment = check.coordinator.decide()
    iterations = check.trainer.train(segment)
    for _ in range(3):
        check.coordinator.tell(segment, *next(iterations))
    check.coordinator.note_retry(segment, "killed")
    assert check.policies == set()
    for told in check.trainer.train(segment):
        check.coordinator.tell(segment, *told)
    check.coordinator.end(segment)
    check.run()
    assert len(check.archive.snapshots()) == len(check.replays[0].stages)
    assert check.coordinator.spent == check.replays[0].env_steps + 3 * Trainer.ITERATION


def test_points_are_named_by_id_or_by_pick(finished):
    front = search.load(finished.folder).confirmed
    ids = list(front.table["snapshot_id"])
    assert chosen_points(front, ["all"]) == ids
    picks = {front.pick(name) for name in ("knee", "keeps_95", "keeps_99")}
    assert set(chosen_points(front, ["knee", "keeps_95", "keeps_99"])) == picks
    assert chosen_points(front, [ids[2], ids[0], ids[2]]) == [ids[0], ids[2]]
    with pytest.raises(ConfigError, match=f"'m99' is not on the front.*{ids[0]}"):
        chosen_points(front, ["m99"])
    with pytest.raises(ConfigError, match="no front point is marked as anything"):
        chosen_points(front, [])


def test_without_a_front_there_is_nothing_to_replay(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=(), members=4, segments=2)
    with pytest.raises(ResultsError, match="prunefront resume"):
        chosen_points(search.load(world.folder).confirmed, ["all"])
    assert archive_of(world.folder) is None


def test_ctrl_c_says_what_is_safe_and_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(search.runs.retrain, "run_retrain", interrupted)
    run = CliRunner().invoke(cli, ["retrain", str(tmp_path)])
    assert run.exit_code != 0
    assert f"interrupted: What is done is safe in {tmp_path / 'retrain'}" in run.output
    run = CliRunner().invoke(cli, ["retrain", str(tmp_path), "--seeds", "0"])
    assert isinstance(run.exception, ConfigError)
    assert "--seeds 0" in str(run.exception)
