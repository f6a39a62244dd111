import dataclasses
import json
import math
import os

import pytest

import search.store.archive
from rllib_ext.pruning.errors import PrunefrontError, ResultsError
from search.store.archive import Archive, Baseline, Evaluation, Snapshot
from search.store.lines import append_lines, read_lines


def snapshot(snapshot_id="m00-s000-i0001", **changes):
    values = {
        "snapshot_id": snapshot_id,
        "trial_number": 0,
        "member": 0,
        "segment": 0,
        "iteration": 1,
        "env_steps": 256,
        "wall_time": 1.5,
        "status": "ok",
        "return_mean": 21.5,
        "return_std": 3.0,
        "episodes": 2,
        "sparsity": 0.5,
        "critic_sparsity": 0.0,
        "nonzero_params": 176,
        "total_params": 352,
        "parent": "",
        "checkpoint": f"policies/{snapshot_id}",
        "state": f"states/{snapshot_id}",
        "hyperparameters": {"lr": 1e-3, "schedule": "cubic", "epochs": 4, "kl": True},
        "objectives": {"macs": 176.0},
        "layers": {"pi": 0.25},
        "seeds": [3, 4],
        "returns": [20.0, 23.0],
        "lengths": [20, 23],
    }
    return Snapshot(**{**values, **changes})


def test_snapshots_come_back_as_they_were_added_and_in_order(tmp_path):
    added = [snapshot(f"m00-s000-i{i:04d}", iteration=i) for i in (3, 1, 2)]
    archive = Archive(tmp_path)
    for each in added:
        archive.add_snapshot(each)
    assert archive.snapshots() == added
    assert Archive(tmp_path).snapshots() == added


def test_details_can_be_left_out_of_a_copy():
    whole = snapshot()
    slim = whole.without_details()
    assert (slim.layers, slim.seeds, slim.returns, slim.lengths) == ({}, [], [], [])
    assert (
        dataclasses.replace(
            slim, **{k: getattr(whole, k) for k in ("layers", "seeds", "returns", "lengths")}
        )
        == whole
    )
    assert whole.returns == [20.0, 23.0]


def test_every_snapshot_is_one_whole_line_of_json(tmp_path):
    archive = Archive(tmp_path)
    archive.add_snapshot(snapshot("a", hyperparameters={"note": "two\nlines\u2028 – …"}))
    archive.add_snapshot(snapshot("b"))
    lines = (tmp_path / "snapshots.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["snapshot_id"] for line in lines] == ["a", "b"]


def test_nothing_is_read_however_much_is_appended(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        search.store.archive, "read_lines", lambda path: read.append(path.name) or read_lines(path)
    )
    archive = Archive(tmp_path)
    for name in "abcb":
        archive.add_snapshot(snapshot(name))
    assert read == []
    assert [s.snapshot_id for s in archive.snapshots()] == ["a", "b", "c"]
    assert read == ["snapshots.jsonl"]


def test_a_snapshot_torn_by_a_crash_can_be_added_again(tmp_path):
    archive = Archive(tmp_path)
    archive.add_snapshot(snapshot("a"))
    archive.add_snapshot(snapshot("b"))
    path = tmp_path / "snapshots.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    resumed = Archive(tmp_path)
    assert [s.snapshot_id for s in resumed.snapshots()] == ["a"]
    resumed.add_snapshot(snapshot("b", return_mean=9.0))
    assert [(s.snapshot_id, s.return_mean) for s in resumed.snapshots()] == [
        ("a", 21.5),
        ("b", 9.0),
    ]


def test_a_corrected_snapshot_stands_where_the_first_one_stood(tmp_path):
    archive = Archive(tmp_path)
    for name in "abc":
        archive.add_snapshot(snapshot(name, return_mean=1.0))
    archive.add_snapshot(snapshot("b", return_mean=2.0))
    assert [(s.snapshot_id, s.return_mean) for s in archive.snapshots()] == [
        ("a", 1.0), ("b", 2.0), ("c", 1.0),
    ]  # fmt: skip


def test_a_folder_that_is_gone_is_not_available(tmp_path):
    archive = Archive(tmp_path)
    for name in "abc":
        archive.add_snapshot(snapshot(name, checkpoint=f"policies/{name}", state=f"states/{name}"))
    for folder in ("policies/a", "policies/c.part", "states/b"):
        (tmp_path / folder).mkdir(parents=True)
    assert [(s.checkpoint, s.state) for s in archive.available()] == [
        ("policies/a", ""), ("", "states/b"), ("", ""),
    ]  # fmt: skip
    assert [s.checkpoint for s in archive.snapshots()] == [f"policies/{name}" for name in "abc"]


def test_nan_and_infinite_returns_survive(tmp_path):
    archive = Archive(tmp_path)
    archive.add_snapshot(snapshot("a", return_mean=math.nan, return_std=math.inf))
    (read,) = archive.snapshots()
    assert math.isnan(read.return_mean)
    assert read.return_std == math.inf


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"status": "infeasible"}, True),
        ({"status": "failed"}, False),
        ({"return_mean": math.nan}, False),
        ({"return_mean": -math.inf}, False),
    ],
)
def test_only_snapshots_that_can_be_ranked_are_usable(changes, usable):
    assert snapshot(**changes).usable is usable


def test_keys_of_newer_versions_are_ignored(tmp_path):
    values = {**dataclasses.asdict(snapshot("a")), "added_by_a_later_version": [1, 2]}
    append_lines(tmp_path / "snapshots.jsonl", [values])
    assert Archive(tmp_path).snapshots() == [snapshot("a")]


def test_a_missing_value_is_named(tmp_path):
    values = dataclasses.asdict(snapshot("a"))
    del values["return_mean"]
    append_lines(tmp_path / "snapshots.jsonl", [values])
    with pytest.raises(ResultsError, match=r"return_mean.*another version"):
        Archive(tmp_path).snapshots()


@pytest.mark.parametrize("broken", [b"{half a record\n", b"\n", b"\xff\xfe\n", b"[1, 2]\n", b"7\n"])
def test_a_broken_line_is_named_with_its_number_and_how_to_go_on(tmp_path, broken):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event":"start"}\n' + broken + b'{"event":"explore"}\n')
    with pytest.raises(ResultsError) as caught:
        Archive(tmp_path).events()
    assert isinstance(caught.value, PrunefrontError)
    assert str(path) in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "remove the line" in str(caught.value)


def test_a_folder_without_files_holds_nothing(tmp_path):
    archive = Archive(tmp_path)
    assert archive.snapshots() == []
    assert archive.evaluations() == []
    assert archive.baselines() == {}
    assert archive.events() == []
    assert list(tmp_path.iterdir()) == []


def test_of_several_evaluations_of_a_policy_for_a_purpose_the_last_counts(tmp_path):
    archive = Archive(tmp_path)
    first, again = (
        Evaluation(snapshot_id="a", purpose="report", seeds=[1], returns=[r], lengths=[9])
        for r in (1.0, 2.0)
    )
    other = dataclasses.replace(first, purpose="selection")
    for evaluation in (first, other, again):
        archive.add_evaluation(evaluation)
    assert archive.evaluations() == [again, other]


def test_of_several_baselines_with_one_name_the_last_counts(tmp_path):
    archive = Archive(tmp_path)
    dense = Baseline(
        name="dense", description="d", env_steps=1, wall_time=2.0, search_return=3.0, sparsity=0.0
    )
    better = dataclasses.replace(dense, search_return=4.0)
    random = Baseline(name="random", description="r", env_steps=0, wall_time=0.0, search_return=1.0)
    for baseline in (dense, random, better):
        archive.add_baseline(baseline)
    read = archive.baselines()
    assert list(read) == ["dense", "random"]
    assert read["dense"] == better
    assert math.isnan(read["random"].sparsity)


def test_events_keep_their_order_and_values(tmp_path):
    archive = Archive(tmp_path)
    archive.add_event("start", seed=3)
    archive.add_event("exploit", member=3, donor="m01-s002-i0010")
    assert archive.events() == [
        {"event": "start", "seed": 3},
        {"event": "exploit", "member": 3, "donor": "m01-s002-i0010"},
    ]


def test_a_note_is_on_disk_with_the_event_that_follows(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    archive = Archive(tmp_path)
    archive.note("exploit", member=3, donor="m01-s002-i0010")
    # Killed now, the process would have left it to the system to write.
    assert archive.events() == [{"event": "exploit", "member": 3, "donor": "m01-s002-i0010"}]
    assert synced == []
    archive.add_event("start", member=3)
    assert synced == [(tmp_path / "events.jsonl").stat().st_size]
    assert [e["event"] for e in archive.events()] == ["exploit", "start"]
