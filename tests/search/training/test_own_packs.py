"""A search of a policy of one's own, which sees nested observations: in packs, to its report and on."""

import json
from pathlib import Path

import own_policies
import pytest
import torch
import yaml
from command_line import BRIEF, SMOKE, prunefront, rows

from rllib_ext import load_policy
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.packed.state import MemberState

pytestmark = pytest.mark.e2e
SHARED = [Path(own_policies.__file__).parent]
OWN = {
    "engine": "auto",
    "env": "own_policies:Places",
    "ppo": {
        "env_runners": {"num_envs_per_env_runner": 8},
        "training": {"train_batch_size_per_learner": 512, "minibatch_size": 128, "num_epochs": 4},
        "rl_module": {
            "rl_module_spec": {
                "module_class": "own_policies:Parts",
                "model_config": {"hidden": 16},
            }
        },
    },
}


def test_a_search_of_a_module_of_one_s_own_is_packed_reported_and_goes_on(tmp_path):
    config, folder = tmp_path / "own.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump({**yaml.safe_load(SMOKE.read_text()), **OWN}))
    said = prunefront("check", config, *BRIEF, cwd=tmp_path, path=SHARED)
    assert "stacked     by torch.func.vmap" in said.stdout
    run = prunefront("search", config, *BRIEF, "--output", folder, cwd=tmp_path, path=SHARED)
    assert run.returncode == 0, run.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["engine"], manifest["failures"]) == ("packed", [])
    before = rows(folder, "snapshots.jsonl")
    more = ("resume", folder, "budget.env_steps=6_000")
    run = prunefront(*more, cwd=tmp_path, path=SHARED)
    assert run.returncode == 0, run.stderr
    after = rows(folder, "snapshots.jsonl")
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert (folder / "report.html").is_file()
    # What members may be resumed from: pruned, and held at zero.
    states = [MemberState.load(path) for path in sorted((folder / "states").iterdir())]
    assert len(states) >= 2
    for state in states:
        masks = {name: torch.from_numpy(m) for name, m in state.pruning["masks"].items()}
        assert not all(bool(mask.all()) for mask in masks.values())
        assert not any(bool(state.weights[name][~mask].any()) for name, mask in masks.items())
    # So short a search need not find what is better than chance: any policy that was kept will do.
    policy = load_policy(next((folder / "policies").iterdir()))
    evaluator = Evaluator(own_policies.Places)
    assert evaluator.run(policy, range(10)).count == 10
    evaluator.close()
