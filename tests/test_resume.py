"""`prunefront resume`: a search that is killed in training, resumed, and extended."""

import json
import signal

import pandas as pd
import pytest
from command_line import (
    SMOKE,
    assert_refused,
    end_with_descendants,
    in_training,
    prunefront,
    rows,
)

pytestmark = pytest.mark.e2e

MEMBERS, ITERATION = 4, 1_100


SMALL = ("budget.env_steps=16_000", "population.segments=2", "evaluation.shifts=[]")


def stop_when(folder, snapshots, how, *arguments):
    """Runs the command until there are so many snapshots; kills or interrupts it in training."""
    with in_training(folder, "snapshots.jsonl", snapshots, *arguments) as process:
        end_with_descendants(process, how)
    return process.returncode, (folder.parent / "messages").read_text()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A search that was killed, resumed and interrupted: its folder, snapshots, messages."""
    folder = tmp_path_factory.mktemp("killed") / "out"
    stop_when(folder, 3, signal.SIGKILL, "search", SMOKE, *SMALL, "--output", folder)
    status, messages = stop_when(folder, 7, signal.SIGINT, "resume", folder)
    assert status == 130
    return folder, rows(folder, "snapshots.jsonl"), messages


@pytest.fixture(scope="module")
def resumed(killed):
    """The same, resumed to its end: its folder, the finished process, the snapshots before."""
    folder, before, _ = killed
    for kind in ("policies", "states"):
        (folder / kind / "m00-s009-i0001.part").mkdir()
    run = prunefront("resume", folder, cwd=folder.parent)
    assert run.returncode == 0, run.stderr
    return folder, run, before


def test_an_interrupted_resume_names_resume_again(killed):
    folder, before, messages = killed
    assert "Traceback" not in messages
    last = messages[messages.index("interrupted:") :]
    assert f"{len(before)} snapshots are safe in {folder}" in last
    assert f"prunefront resume {folder}" in last


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_killed_search_is_resumed_to_its_report(resumed):
    folder, run, _ = resumed
    assert run.stdout.splitlines()[-1] == f"report: {folder.resolve() / 'report.html'}"
    assert "Traceback" not in run.stderr
    manifest = manifest_of(folder)
    assert manifest["status"] == "finished"
    assert manifest["command"][:2] == ["prunefront", "search"]
    assert [r["command"][1] for r in manifest["resumed"]] == ["resume", "resume"]
    assert manifest["failures"] == []
    assert len(pd.read_csv(folder / "front.csv")) >= 1
    assert {"tune", "tune-2", "tune-3"} <= {p.name for p in folder.iterdir()}


def test_nothing_that_was_on_disk_is_lost_and_nothing_is_there_twice(resumed):
    folder, _, before = resumed
    after = rows(folder, "snapshots.jsonl")
    assert after[: len(before)] == before
    assert len({s["snapshot_id"] for s in after}) == len(after) > len(before)
    table = pd.read_csv(folder / "snapshots.csv")
    assert list(table["snapshot_id"]) == [s["snapshot_id"] for s in after]


def test_what_was_trained_twice_counts_in_the_budget(resumed):
    folder, *_ = resumed
    spent = manifest_of(folder)["env_steps"]["training"]
    assert 16_000 <= spent <= 16_000 + MEMBERS * ITERATION
    # One snapshot an iteration; repeated ones have an event of their own.
    events = rows(folder, "events.jsonl")
    iterations = len(rows(folder, "snapshots.jsonl"))
    iterations += sum(e["event"] == "repeat" for e in events)
    assert spent == pytest.approx(iterations * 1_030, rel=0.04)
    assert sum(e["event"] == "lost" for e in events) >= 2


def test_members_go_on_where_they_were(resumed):
    folder, *_ = resumed
    known = {s["snapshot_id"]: s for s in rows(folder, "snapshots.jsonl")}
    plans = [e["plan"] for e in rows(folder, "events.jsonl") if e["event"] == "start"]
    for plan in plans:
        assert not plan["parent"] or plan["parent"] in known
    for snapshot in known.values():
        parent = known.get(snapshot["parent"])
        assert snapshot["env_steps"] > (parent["env_steps"] if parent else 0)


def test_only_what_is_needed_stays_on_disk(resumed):
    folder, *_ = resumed
    assert not list(folder.glob("*/*.part"))
    kept = {p.name for p in (folder / "policies").iterdir()}
    table = pd.read_csv(folder / "snapshots.csv").set_index("snapshot_id")
    with_policy = set(table.index[table["checkpoint"].notna()])
    recorded = [b["checkpoint"] for b in rows(folder, "baselines.jsonl") if b["checkpoint"]]
    baselines = {place.removeprefix("policies/") for place in recorded}
    assert kept == with_policy | baselines
    assert len([name for name in kept if name.startswith("dense")]) == 1
    assert len(baselines) == len(recorded) == 5
    assert 1 <= len(with_policy) <= 4
    assert not [
        p for p in (folder / "states").iterdir() if p.name.startswith(("dense", "baseline"))
    ]


def test_other_overrides_are_refused_and_change_nothing(resumed, tmp_path):
    folder, *_ = resumed
    before = (folder / "config.yaml").read_text(), manifest_of(folder)
    for override, *expected in (
        ("seed=3", "'seed=3'", "Only budget.env_steps"),
        # Engines can't read each other's training states.
        ("engine=packed", "'engine=packed'", "Only budget.env_steps"),
        ("budget.horizon=9000", "Only budget.env_steps"),
        ("budget.env_steps=100", "100 is less than the 16,000"),
        ("budget.env_steps=many", "budget.env_steps"),
    ):
        assert_refused(prunefront("resume", folder, override, cwd=tmp_path), *expected)
    assert ((folder / "config.yaml").read_text(), manifest_of(folder)) == before


def test_what_is_no_results_folder_is_refused(tmp_path):
    assert_refused(prunefront("resume", tmp_path / "no", cwd=tmp_path), "is not a folder")
    assert_refused(prunefront("resume", tmp_path, cwd=tmp_path), "holds no config.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_search_says_so_and_how_to_extend_it(resumed, tmp_path):
    folder, *_ = resumed
    before = manifest_of(folder)
    for words in (
        ("resume", folder),
        ("search", SMOKE, *SMALL, "--output", folder, "--resume-or-start"),
    ):
        run = prunefront(*words, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert f"prunefront resume {folder} budget.env_steps=32000" in run.stderr
        assert "training" not in run.stderr
        assert run.stdout.splitlines()[-1] == f"report: {folder.resolve() / 'report.html'}"
    other = prunefront(
        "search", SMOKE, *SMALL, "seed=7", "--output", folder, "--resume-or-start", cwd=tmp_path
    )
    assert_refused(other, "holds another search: seed = 7, and it was 0")
    assert_refused(prunefront("search", SMOKE, "--output", folder, cwd=tmp_path), "is not empty")
    assert manifest_of(folder) == before


def test_a_seed_edited_after_the_search_began_is_refused(resumed, tmp_path):
    folder, *_ = resumed
    path = folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("\nseed: 0", "\nseed: 3"))
    try:
        for verb in ("resume", "retrain"):
            told = "config.yaml was changed since the run began: seed = 3, and it was 0"
            assert_refused(prunefront(verb, folder, cwd=tmp_path), told)
    finally:
        path.write_text(text)


def test_a_finished_search_is_extended(resumed, tmp_path):
    folder, *_ = resumed
    before = rows(folder, "snapshots.jsonl")
    evaluated = {e["snapshot_id"] for e in rows(folder, "evaluations.jsonl")}
    baselines = rows(folder, "baselines.jsonl")
    run = prunefront("resume", folder, "budget.env_steps=20e3", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    manifest = manifest_of(folder)
    assert manifest["budget"] == {"env_steps": 20_000, "horizon": 4_000}
    assert 20_000 <= manifest["env_steps"]["training"] <= 20_000 + MEMBERS * ITERATION
    after = rows(folder, "snapshots.jsonl")
    assert after[: len(before)] == before
    assert len(after) >= len(before) + 3
    assert max(s["env_steps"] for s in after) <= 4_000 + ITERATION
    # What was trained to compare with is not trained again.
    assert rows(folder, "baselines.jsonl") == baselines
    told = {e["snapshot_id"] for e in rows(folder, "evaluations.jsonl")}
    assert evaluated <= told
    assert all((folder / s).is_dir() for s in pd.read_csv(folder / "front.csv")["policy"])
