"""What segments start from and with which hyperparameters, under a pretended trainer."""

import collections
import json
import math

import pytest
from pretended_search import Search, by_id, events

pytestmark = pytest.mark.usefixtures("without_sync")


def test_an_exploits_segment_starts_from_its_donors_state(searched):
    starts = {(e["member"], e["segment"]): e["plan"] for e in events(searched, "start")}
    exploits = events(searched, "exploit")
    assert len(exploits) >= 10
    known = by_id(searched)
    for exploit in exploits:
        plan = starts[exploit["member"], exploit["segment"]]
        donor = known[exploit["donor"]]
        assert plan["state"] == donor.state == f"states/{donor.snapshot_id}"
        assert plan["parent"] == donor.snapshot_id
        assert exploit["donor_env_steps"] == donor.env_steps < plan["until_env_steps"]
        assert donor.status == "ok"


def test_a_segment_without_an_exploit_goes_on_from_the_members_own_last_snapshot(searched):
    copied = {(e["member"], e["segment"]) for e in events(searched, "exploit")}
    own = _segments_of(searched.archive.snapshots())
    plain = [s for s in searched.of_members if (s.member, s.segment) not in copied]
    assert any(s.segment > 0 for s in plain)
    for segment in plain:
        expected = (
            own[segment.member, segment.segment - 1][-1].snapshot_id if segment.segment else ""
        )
        assert segment.parent == expected


def test_new_hyperparameters_can_still_do_something(searched):
    """Sparsity only rises, and a schedule that has ended would prune nothing more."""
    space, known = searched.config.space, by_id(searched)
    explored = {
        (e["member"], e["segment"]): e["hyperparameters"] for e in events(searched, "explore")
    }
    copied = [s for s in searched.of_members if s.parent and (s.member, s.segment) in explored]
    assert len(copied) >= 10
    for segment in copied:
        values = explored[segment.member, segment.segment]
        donor = known[segment.parent]
        highest = space.parameters["pruning.final_sparsity"].high
        assert values["pruning.final_sparsity"] >= min(donor.sparsity, highest)
        ahead = (donor.env_steps + searched.config.segment_steps) / searched.config.horizon
        assert values["pruning.end"] >= min(ahead, space.parameters["pruning.end"].high)
        assert space.clip(values) == values
        assert segment.pruning["final_sparsity"] == values["pruning.final_sparsity"]
        assert segment.training == {"lr": values["training.lr"]}


def test_a_segment_trains_with_what_the_events_say(searched):
    plans = [json.loads(json.dumps(s.to_dict())) for s in searched.segments]
    for event in events(searched, "start")[1:]:
        snapshots = [
            s
            for s in searched.archive.snapshots()
            if (s.member, s.segment) == (event["member"], event["segment"])
        ]
        assert all(s.hyperparameters == event["hyperparameters"] for s in snapshots)
        assert event["plan"] in plans


def test_a_random_member_that_failed_is_drawn_anew_and_copies_nobody(tmp_path):
    fails = {(1, 2): "raise"}
    search = Search(
        tmp_path, strategy="random", fails=lambda s: fails.get((s.member, s.segment), "")
    ).run()
    assert not events(search, "exploit") + events(search, "replacement")
    starts = {(e["member"], e["segment"]): e for e in events(search, "start")}
    again = starts[1, 3]
    assert again["plan"]["state"] == again["plan"]["parent"] == ""
    assert again["env_steps"] == 0
    assert again["hyperparameters"] != starts[1, 2]["hyperparameters"]


def test_random_members_keep_what_they_drew(tmp_path):
    search = Search(tmp_path, strategy="random").run()
    assert not events(search, "exploit")
    assert len(events(search, "explore")) == 4
    for member in range(4):
        own = [s.hyperparameters for s in search.archive.snapshots() if s.member == member]
        assert all(values == own[0] for values in own)


def test_a_return_that_is_no_number_is_never_ok_and_never_donates(tmp_path):
    search = Search(tmp_path, fails=lambda s: "nan" if s.member == 0 else "").run()
    nan = [s for s in search.archive.snapshots() if math.isnan(s.return_mean)]
    assert nan
    assert not any(s.usable for s in nan)
    assert {s.parent for s in search.of_members}.isdisjoint(s.snapshot_id for s in nan)
    assert math.isfinite(search.coordinator.progress.best_return)


def test_a_policy_no_better_than_the_floor_is_infeasible_and_never_donates(tmp_path):
    search = Search(tmp_path, members=6, seed=1)
    search.coordinator._floor = 150.0
    search.run()
    below = [s for s in search.archive.snapshots() if s.return_mean <= 150.0]
    assert below
    assert {s.status for s in below} == {"infeasible"}
    copied = {e["donor"] for e in events(search, "exploit") + events(search, "replacement")}
    assert copied
    assert copied.isdisjoint(s.snapshot_id for s in below)


def test_states_that_are_started_from_are_there_and_old_ones_go(tmp_path):
    search = Search(tmp_path, members=6, segments=6, env_steps=120_000)
    most = 0

    def look():
        nonlocal most
        states = {p.name for p in tmp_path.glob("states/*")}
        most = max(most, len([s for s in states if not s.startswith("dense")]))
        for running in search.coordinator._state.running.values():
            assert not running.segment.state or (tmp_path / running.segment.state).is_dir()

    # The trainer itself reads the state that a segment starts from.
    search.run(slots=2, after_each=look)
    assert len(search.archive.snapshots()) == 120
    assert most < 60
    # Policies stay: any of them may be a candidate.
    assert all((tmp_path / s.checkpoint).is_dir() for s in search.archive.snapshots())


def _segments_of(snapshots):
    found = collections.defaultdict(list)
    for snapshot in snapshots:
        found[snapshot.member, snapshot.segment].append(snapshot)
    return found
