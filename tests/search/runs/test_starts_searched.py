"""Real small searches whose members start dense, narrow and sparse, by each engine."""

import json

import pandas as pd
import pytest
import yaml
from command_line import NOTHING_MORE, SMOKE, prunefront, rows

pytestmark = pytest.mark.e2e

WEIGHTS = 4 * 32 + 32 * 32 + 32 * 2
MEMBERS = 6
LITTLE = (
    "budget.env_steps=18_000",
    f"population={{members: {MEMBERS}, segments: 2}}",
    "evaluation.candidates=4",
    "evaluation.selection_episodes=5",
    "evaluation.report_episodes=5",
    *NOTHING_MORE,
)


def configuration(folder):
    """The smoke search, with starts among what is searched."""
    values = yaml.safe_load(SMOKE.read_text())
    values["search"]["space"] |= {
        "pruning.start": {"type": "choice", "choices": ["dense", "narrow", "sparse"]},
        "pruning.start_density": {"type": "float", "low": 0.1, "high": 0.4, "scale": "log"},
    }
    path = folder / "starts.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("engine", ["rllib", "packed"])
def test_starts_compete_in_one_population_and_a_recipe_starts_alike(engine, tmp_path):
    folder, path = tmp_path / "out", configuration(tmp_path)
    run = prunefront("search", path, *LITTLE, f"engine={engine}", "--output", folder, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads((folder / "manifest.json").read_text())["failures"] == []
    snapshots = {s["snapshot_id"]: s for s in rows(folder, "snapshots.jsonl")}
    seen = set()
    for snapshot in snapshots.values():
        own = snapshot["hyperparameters"]
        start = own["pruning.start"]
        parent = snapshots.get(snapshot["parent"])
        if parent is not None:
            assert start == parent["hyperparameters"]["pruning.start"]
            assert snapshot["nonzero_params"] <= parent["nonzero_params"]
        elif start == "dense":
            assert snapshot["sparsity"] <= own["pruning.final_sparsity"] + 1e-3
        else:
            density = own["pruning.start_density"]
            # Units are as many as hold the weights that are asked for, or more.
            most = density + (0.0005 if start == "sparse" else 0.08)
            assert snapshot["nonzero_params"] <= most * WEIGHTS
        seen.add(start)
    assert seen == {"dense", "narrow", "sparse"}
    table = pd.read_csv(folder / "snapshots.csv")
    assert set(table["hp.pruning.start"]) == seen
    assert table["hp.pruning.start_density"].isna().equals(table["hp.pruning.start"] == "dense")
    again = prunefront("retrain", folder, "--points", "all", "--seeds", 1, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    found = rows(folder / "retrain", "snapshots.jsonl")
    # Masks are drawn anew: as many weights as the recipe left, or units as wide.
    assert found
    for snapshot in found:
        if snapshot["hyperparameters"]["pruning.start"] != "dense":
            assert snapshot["sparsity"] > 0.4
