"""The five real runs of `make test`, each as brief as it can be: what a user does first works at all.

What else these commands promise, the end-to-end tier looks at on larger runs.
"""

import json

import pandas as pd
import pytest
from command_line import (
    BRIEF,
    SMOKE,
    end_with_descendants,
    in_training,
    prunefront,
    rows,
)
from ray_head import ray_head

pytestmark = [pytest.mark.e2e, pytest.mark.everyday]


def assert_reported(run, folder):
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"report: {folder.resolve() / 'report.html'}"
    assert "Traceback" not in run.stderr
    assert "retained" in run.stdout
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["failures"] == []
    assert (folder / "report.html").stat().st_size
    assert len(pd.read_csv(folder / "front.csv")) >= 1
    assert not list(folder.rglob("*.part"))
    return manifest


@pytest.mark.parametrize("engine", ["rllib", "packed"])
def test_a_search_runs_to_its_report(engine, tmp_path):
    folder = tmp_path / "out"
    run = prunefront("search", SMOKE, *BRIEF, f"engine={engine}", "--output", folder, cwd=tmp_path)
    manifest = assert_reported(run, folder)
    assert 4_000 <= manifest["env_steps"]["training"] <= 4_000 + 2 * 1_100
    assert {s["member"] for s in rows(folder, "snapshots.jsonl")} == {0, 1}


def test_a_killed_search_is_resumed_to_its_report(tmp_path):
    folder = tmp_path / "out"
    words = ("search", SMOKE, *BRIEF, "--output", folder)
    with in_training(folder, "snapshots.jsonl", 1, *words) as process:
        end_with_descendants(process)
    before = rows(folder, "snapshots.jsonl")
    run = prunefront("resume", folder, cwd=tmp_path)
    manifest = assert_reported(run, folder)
    assert [r["command"][1] for r in manifest["resumed"]] == ["resume"]
    after = rows(folder, "snapshots.jsonl")
    assert after[: len(before)] == before
    assert len({s["snapshot_id"] for s in after}) == len(after) > len(before)


def test_a_search_runs_as_a_job_of_a_cluster(tmp_path):
    folder = tmp_path / "out"
    with ray_head() as head:
        run = head.run(
            "submit", SMOKE, *BRIEF, "--address", head.jobs, "--output", "out", "--follow",
            cwd=tmp_path,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\njob: raysubmit_" in run.stdout
    assert run.stdout.count(f"report: {folder}/report.html") == 1
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    assert len(pd.read_csv(folder / "front.csv")) >= 1


@pytest.mark.ray
def test_a_checkpoint_is_pruned(ppo_checkpoint, tmp_path):
    folder = tmp_path / "out"
    run = prunefront(
        "prune", ppo_checkpoint, "--sparsity", 0.5, "--retrain", 1, "--episodes", 4,
        "--output", folder, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "50.00 %" in run.stdout
    (level,) = rows(folder, "snapshots.jsonl")
    assert level["nonzero_params"] == level["total_params"] // 2
    assert (folder / "report.html").stat().st_size
