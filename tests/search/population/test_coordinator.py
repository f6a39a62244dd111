"""The coordinator with a pretended trainer: budget, clocks, clones, failures, seeds, the study."""

import collections
import json
import math

import pytest
from pretended_search import CAP, RANDOM, Search, Trainer, by_id, events

from rllib_ext.member.segment import DENSE
from rllib_ext.pruning.errors import RunError

ITERATION = Trainer.ITERATION


pytestmark = pytest.mark.usefixtures("without_sync")


def test_what_failed_segments_trained_counts_too(tmp_path):
    failing = Search(
        tmp_path, fails=lambda s: "raise" if s.segment % 3 == 1 else "", members=5
    ).run()
    lost = [f["error"] for f in failing.coordinator.failures]
    assert len(lost) > 5
    assert 80_000 <= failing.coordinator.spent["training"] <= 80_000 + 5 * ITERATION


def test_every_lineages_clock_goes_on_from_where_its_segment_started(searched):
    snapshots = searched.archive.snapshots()
    known = by_id(searched)
    for own in _segments_of(snapshots).values():
        start = known[own[0].parent].env_steps if own[0].parent else 0
        assert [s.env_steps for s in own] == [start + ITERATION * (i + 1) for i in range(len(own))]
        assert own[-1].env_steps <= searched.config.horizon + ITERATION


def test_all_members_train_and_those_behind_go_first(searched):
    assert {s.member for s in searched.of_members} == set(range(8))
    assert [s.member for s in searched.of_members[:8]] == list(range(8))
    horizon, known = searched.config.horizon, by_id(searched)
    clocks = dict.fromkeys(range(8), 0)
    for segment in searched.of_members:
        # Two train at once, so one that is further behind can only be the other.
        behind = [m for m in clocks if clocks[m] < min(clocks[segment.member], horizon)]
        assert len(behind) <= 1
        own = [
            s for s in known.values() if (s.member, s.segment) == (segment.member, segment.segment)
        ]
        clocks[segment.member] = max(s.env_steps for s in own)


def test_a_members_segments_are_numbered_and_named_without_gaps(searched):
    for member in range(8):
        numbers = [s.segment for s in searched.of_members if s.member == member]
        assert numbers == list(range(len(numbers)))
    assert len(by_id(searched)) == len(searched.archive.snapshots())


def test_the_dense_baseline_comes_first_once_and_is_booked_apart(searched):
    assert [i for i, s in enumerate(searched.segments) if s.member == DENSE] == [0]
    dense = searched.segments[0]
    assert dense.training == {}
    assert dense.pruning["final_sparsity"] == 0.0
    assert dense.until_env_steps == searched.config.horizon
    spent = searched.coordinator.spent
    assert spent["baselines"] == 30_000
    assert spent["training"] == 240_000
    # Of the baseline only the end is evaluated; how far it is is told all the same.
    assert spent["evaluation"] == 50 * (240 + 1)
    told = [e["env_steps"] for e in events(searched, "dense")]
    assert told == [1_000 * (i + 1) for i in range(30)]
    baseline = searched.archive.baselines()["dense"]
    assert (baseline.sparsity, baseline.nonzero_params) == (0.0, Trainer.WEIGHTS)
    assert baseline.env_steps == 30_000
    assert baseline.search_return == pytest.approx(CAP, abs=60)
    assert (searched.folder / baseline.checkpoint).is_dir()
    assert all(s.member != DENSE for s in searched.archive.snapshots())


def test_a_known_dense_baseline_is_not_trained_again(tmp_path):
    first = Search(tmp_path)
    first.segments.append(first.coordinator.decide())
    for told in first.trainer.train(first.segments[0]):
        first.coordinator.tell(first.segments[0], *told)
    first.coordinator.end(first.segments[0])
    assert first.segments[0].member == DENSE
    assert Search(tmp_path).coordinator.decide().member != DENSE


def test_training_seeds_of_all_segments_differ(searched):
    seeds = [s.seed for s in searched.segments]
    assert len(set(seeds)) == len(seeds)


def test_evaluation_seeds_are_common_within_a_segment_of_the_clock_and_differ_between_them(
    searched,
):
    steps, horizon = searched.config.segment_steps, searched.config.horizon
    used = collections.defaultdict(set)
    known = by_id(searched)
    for segment in searched.of_members:
        clock = known[segment.parent].env_steps if segment.parent else 0
        # A segment whose rest would be short is trained to the next one's end.
        part = next(
            k for k in range(1, 8) if k * steps - clock >= steps / 4 or k * steps >= horizon
        )
        used[part].add(segment.evaluation_seeds)
    assert sorted(used) == [1, 2, 3, 4, 5, 6]
    assert all(len(seeds) == 1 for seeds in used.values())
    everything = [seed for seeds in used.values() for seed in next(iter(seeds))]
    everything += searched.segments[0].evaluation_seeds
    assert len(set(everything)) == len(everything) == 7 * searched.config.evaluation.episodes


def test_a_failed_segment_is_noted_and_its_member_replaced(tmp_path):
    fails = {(1, 1): "raise", (2, 2): "nan"}
    search = Search(tmp_path, fails=lambda s: fails.get((s.member, s.segment), ""), members=5)
    search.run()
    failures = events(search, "failure")
    assert [(f["member"], f["segment"]) for f in failures] == [(1, 1), (2, 2)]
    assert failures[0]["error"] == "the environment died"
    assert "not finite" in failures[1]["error"]
    assert [f["error"] for f in search.coordinator.failures] == [f["error"] for f in failures]
    assert search.coordinator.progress.failures == 2
    replaced = {(e["member"], e["segment"]): e for e in events(search, "replacement")}
    assert set(replaced) == {(1, 2), (2, 3)}
    known = by_id(search)
    for key, event in replaced.items():
        segment = next(s for s in search.of_members if (s.member, s.segment) == key)
        assert segment.parent == event["donor"]
        assert known[event["donor"]].status == "ok"


def test_a_segment_that_ends_without_a_snapshot_has_failed(tmp_path):
    search = Search(tmp_path)
    search.coordinator.decide()
    segment = search.coordinator.decide()
    search.coordinator.end(segment)
    assert [f["member"] for f in search.coordinator.failures] == [segment.member]


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_search_of_which_every_segment_fails_is_given_up(tmp_path, how):
    search = Search(tmp_path, fails=lambda s: how if s.member != DENSE else "", env_steps=800_000)
    with pytest.raises(RunError, match="every member failed 3 segments in a row; the last: "):
        search.run()
    assert len(search.coordinator.failures) == 3 * 4
    assert search.coordinator.spent["training"] < 800_000


def test_a_member_that_fails_again_and_again_is_left_alone_and_the_others_go_on(tmp_path):
    search = Search(tmp_path, fails=lambda s: "raise" if s.member == 2 else "", members=5).run()
    assert [f["member"] for f in search.coordinator.failures] == [2] * 3
    assert search.coordinator.spent["training"] >= 80_000
    # What is left of the budget afterwards restarts members, the last of them perhaps not to the end.
    reached = collections.defaultdict(int)
    for snapshot in search.archive.snapshots():
        reached[snapshot.member] = max(reached[snapshot.member], snapshot.env_steps)
    assert all(reached[member] >= search.config.horizon for member in (0, 1, 3, 4))


def test_a_full_disk_ends_a_search_that_went_well_before(tmp_path):
    """Nothing is spent any more, so the budget alone would never end it."""
    search = Search(tmp_path)
    for _ in range(4):
        segment = search.coordinator.decide()
        for told in search.trainer.train(segment):
            search.coordinator.tell(segment, *told)
        search.coordinator.end(segment)
    for _ in range(3 * 4 - 1):
        search.coordinator.end(search.coordinator.decide(), "no space left")
    last = search.coordinator.decide()
    with pytest.raises(RunError, match=r"the last: no space left\. See error\.txt"):
        search.coordinator.end(last, "no space left")


def test_a_failed_dense_baseline_ends_the_search_with_the_mend(tmp_path):
    search = Search(tmp_path, fails=lambda s: "raise" if s.member == DENSE else "")
    with pytest.raises(
        RunError, match=r"dense baseline failed \(the environment died\).*error\.txt"
    ):
        search.run()


def test_a_retry_is_noted_and_what_it_will_train_again_stays_reserved(tmp_path):
    search = Search(tmp_path, env_steps=8_000, segments=1)
    coordinator = search.coordinator
    coordinator.decide()
    segments = [coordinator.decide() for _ in range(3)]
    told = next(iter(search.trainer.train(segments[0])))
    coordinator.tell(segments[0], *told)
    coordinator.note_retry(segments[0], "a worker died")
    (retry,) = events(search, "retry")
    assert (retry["member"], retry["env_steps"], retry["error"]) == (0, 1_000, "a worker died")
    # 1,000 are spent and 3 × 2,000 will be: what is left is 1,000, not 2,000.
    last = coordinator.decide()
    assert last.until_env_steps == 1_000


def test_with_one_slot_a_search_repeats_itself(tmp_path):
    def told(folder):
        search = Search(folder, members=5, seed=9).run()
        snapshots = [{**vars(s), "wall_time": 0.0} for s in search.archive.snapshots()]
        return search.archive.events(), snapshots, [s.to_dict() for s in search.segments]

    first, second = told(tmp_path / "a"), told(tmp_path / "b")
    assert first == second
    assert any(e["event"] == "exploit" for e in first[0])
    other = Search(tmp_path / "c", members=5, seed=10).run()
    assert other.archive.events() != first[0]


def test_every_event_is_whole(searched):
    needed = {
        "start": {"hyperparameters", "plan"},
        "explore": {"source", "trial_number", "hyperparameters"},
        "exploit": {"donor", "donor_env_steps"},
        "end": set(),
        "dense": {"evaluation_env_steps"},
    }
    seen = collections.Counter()
    for event in searched.archive.events():
        seen[event["event"]] += 1
        assert {"member", "segment", "env_steps"} <= event.keys()
        assert needed[event["event"]] <= event.keys(), event
    assert seen["start"] == seen["end"] == len(searched.segments)
    assert seen["explore"] >= seen["exploit"] + 8
    space = set(searched.config.search.space)
    assert all(e["hyperparameters"].keys() == space for e in events(searched, "explore"))
    assert {e["source"] for e in events(searched, "explore")} == {"proposal", "perturbation"}


def test_what_is_decided_is_on_disk_before_it_is_carried_out(tmp_path):
    search = Search(tmp_path)
    for _ in range(3):
        segment = search.coordinator.decide()
        line = (tmp_path / "events.jsonl").read_text().splitlines()[-1]
        assert json.loads(line)["plan"] == json.loads(json.dumps(segment.to_dict()))


def test_progress_names_the_best_and_the_sparsest_that_is_nearly_as_good(searched):
    progress = searched.coordinator.progress
    snapshots = searched.archive.snapshots()
    best = max(s.return_mean for s in snapshots)
    good = [s.sparsity for s in snapshots if best - s.return_mean <= 0.05 * (best - RANDOM)]
    assert progress.best_return == best
    assert progress.sparsest_good == max(good)
    assert (progress.members, progress.snapshots, progress.running) == (8, 240, 0)
    assert progress.budget == 240_000


def test_progress_before_the_first_snapshot_knows_no_best(tmp_path):
    progress = Search(tmp_path).coordinator.progress
    assert math.isnan(progress.best_return)
    assert math.isnan(progress.sparsest_good)
    assert (progress.env_steps, progress.snapshots, progress.running) == (0, 0, 0)


def _segments_of(snapshots):
    found = collections.defaultdict(list)
    for snapshot in snapshots:
        found[snapshot.member, snapshot.segment].append(snapshot)
    return found
