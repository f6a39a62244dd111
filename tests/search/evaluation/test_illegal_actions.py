"""An environment that raises at illegal actions and doesn't show the legal ones as RLlib does."""

import json
import subprocess
import sys

import pytest
import yaml
from command_line import assert_refused, environment, prunefront, rows

pytestmark = pytest.mark.e2e

OWN = '''
import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns


class Refusing(gymnasium.Env):
    """Of three actions one raises; the observation begins with which are legal."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (5,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, config=None):
        """Plain RLlib passes one mapping."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self._seen(), {}

    def _seen(self):
        self.illegal = int(self.np_random.integers(3))
        legal = [float(action != self.illegal) for action in range(3)]
        return np.array([*legal, *self.np_random.uniform(size=2)], np.float32)

    def step(self, action):
        if int(action) == self.illegal:
            raise ValueError("that is no legal move")
        self.left -= 1
        return self._seen(), float(action), self.left == 0, False, {}


class Masking(DefaultPPOTorchRLModule):
    def _forward(self, batch, **kwargs):
        outputs = super()._forward(batch, **kwargs)
        legal = batch[Columns.OBS][..., :3]
        outputs[Columns.ACTION_DIST_INPUTS] = outputs[Columns.ACTION_DIST_INPUTS] - 1e9 * (1 - legal)
        return outputs

    def _forward_train(self, batch, **kwargs):
        outputs = super()._forward_train(batch, **kwargs)
        legal = batch[Columns.OBS][..., :3]
        outputs[Columns.ACTION_DIST_INPUTS] = outputs[Columns.ACTION_DIST_INPUTS] - 1e9 * (1 - legal)
        return outputs
'''
CONFIG = {
    "name": "refusing",
    "env": "refusing_env:Refusing",
    "ppo": {
        "training": {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1},
        "rl_module": {
            "rl_module_spec": "refusing_env:Masking",
            "model_config": {"fcnet_hiddens": [8], "vf_share_layers": False},
        },
    },
    "population": {"members": 2, "segments": 1},
    "budget": {"env_steps": 512},
    "search": {
        "strategy": "random",
        "space": {"pruning.final_sparsity": {"type": "float", "low": 0.3, "high": 0.6}},
    },
    "evaluation": {
        "interval": 1,
        "episodes": 2,
        "candidates": 2,
        "selection_episodes": 3,
        "report_episodes": 3,
        "shifts": [{"stochastic": True}],
        "shift_episodes": 2,
    },
    "baselines": {
        "random_masks": 0,
        "small_dense": 0,
        "train_then_prune": 0,
        "linear": 0,
        "tree": 0,
    },
}
SAVE = """
import sys
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from refusing_env import Masking, Refusing

spec = RLModuleSpec(module_class=Masking, model_config={"fcnet_hiddens": [8], "vf_share_layers": False})
config = PPOConfig().environment(Refusing).env_runners(num_env_runners=0)
config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
algorithm = config.rl_module(rl_module_spec=spec).build_algo()
algorithm.train()
algorithm.save_to_path(sys.argv[1])
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "refusing_env.py").write_text(OWN)
    (tmp_path / "refusing.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def test_a_search_goes_without_untrained_baselines_where_it_is_told_to(place):
    refused = prunefront("check", "refusing.yaml", cwd=place)
    assert_refused(refused, "that is no legal move", "baselines.untrained=false", "action_mask")
    told = ("refusing.yaml", "baselines.untrained=false")
    checked = prunefront("check", *told, cwd=place)
    assert checked.returncode == 0, checked.stderr
    run = prunefront("search", *told, "--output", "out", cwd=place)
    assert run.returncode == 0, run.stderr
    folder = place / "out"
    assert {b["name"] for b in rows(folder, "baselines.jsonl")} == {"dense"}
    assert (
        "retained is unknown: the random baseline has no episodes"
        in (folder / "report.md").read_text()
    )
    assert (folder / "report.html").is_file()
    assert {s["policy"] for s in rows(folder, "shifts.jsonl")} >= {"dense"}
    policy = next((folder / "policies").iterdir())
    evaluated = prunefront("evaluate", policy, "--episodes", "3", cwd=place)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "retained is unknown" in evaluated.stdout


def test_prune_says_so_and_goes_on(place):
    ended = subprocess.run(
        [sys.executable, "-c", SAVE, str(place / "checkpoint")],
        capture_output=True, text=True, check=False, cwd=place, env=environment(place),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    run = prunefront(
        "prune", "checkpoint", "--sparsity", "0.5", "--episodes", "3", "--output", "out", cwd=place
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "that is no legal move. What refuses illegal actions can show" in run.stderr
    assert json.loads((place / "out" / "manifest.json").read_text())["status"] == "finished"
    (snapshot,) = rows(place / "out", "snapshots.jsonl")
    assert snapshot["status"] == "ok"
