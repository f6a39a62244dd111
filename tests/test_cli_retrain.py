"""Front points' recipes, replayed from the command line."""

import json
import shutil

import pandas as pd
import pytest
from command_line import prunefront, rows, smoke_search

from search.runs.display.json_lines import EVENTS

pytestmark = pytest.mark.e2e


def test_recipes_are_replayed_with_the_engine_of_the_search_and_what_is_done_is_kept(
    tmp_path, tmp_path_factory
):
    folder = tmp_path / "out"
    searched, _ = smoke_search("packed", tmp_path_factory)
    shutil.copytree(searched, folder)
    point = pd.read_csv(folder / "front.csv")["snapshot_id"].iloc[-1]
    run = prunefront("retrain", folder, "--points", point, "--seeds", 2, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "this recipe" in run.stdout
    table = pd.read_csv(folder / "retrain.csv")
    assert list(table["row"]) == ["seed 0", "seed 1", "recipe"]
    own, known = rows(folder / "retrain", "snapshots.jsonl"), rows(folder, "snapshots.jsonl")
    source = next(s for s in known if s["snapshot_id"] == point)
    # RLlib's iterations are a few steps longer than its batches, by the episodes that are under way.
    ends = list({s["member"]: s for s in own}.values())
    assert [s["nonzero_params"] for s in ends] == [source["nonzero_params"]] * 2
    assert ends[0]["returns"] != ends[1]["returns"]
    assert list(table["env_steps"][:2]) == pytest.approx([source["env_steps"]] * 2, rel=0.02)
    assert not any((folder / "retrain" / "states").iterdir())
    for name in table["policy"][:2]:
        assert (folder / name / "metadata.json").is_file()
    words = ("retrain", folder, "--points", point, "--seeds", 2)
    again = prunefront(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "replaying" not in again.stderr
    assert again.stdout == run.stdout
    told = [
        json.loads(line) for line in prunefront(*words, "--json", cwd=tmp_path).stdout.splitlines()
    ]
    assert all(set(e) == {"event", "time", "elapsed", *EVENTS[e["event"]]} for e in told)
    assert [row["row"] for row in told[-1]["recipes"]] == list(table["row"])
