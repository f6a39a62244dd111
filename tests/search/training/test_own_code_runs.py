"""Searches of one's own code, to their reports: what could be pruned but not searched before."""

import json
import subprocess
import sys

import pytest
import yaml
from command_line import assert_refused, environment, prunefront, rows

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SETTINGS = {
    "population": {"members": 2, "segments": 2},
    "budget": {"env_steps": 1024},
    "pruning": {"schedule": "linear", "begin": 0.0, "end": 0.5},
    "search": {
        "strategy": "random",
        "space": {"pruning.final_sparsity": {"type": "float", "low": 0.5, "high": 0.9}},
    },
    "evaluation": {
        "interval": 1,
        "episodes": 2,
        "candidates": 2,
        "selection_episodes": 3,
        "report_episodes": 3,
    },
    "baselines": {
        "random_masks": 0,
        "small_dense": 0,
        "train_then_prune": 0,
        "linear": 0,
        "tree": 0,
    },
}
# The best that can be done in `Two` is a constant action, which no policy exceeds.
ANY_GOOD = {**SETTINGS["baselines"], "untrained": False}
TRAINING = {
    "training": {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1},
    "rl_module": {"model_config": {"fcnet_hiddens": [8], "vf_share_layers": False}},
}
FLAT = {"env_to_module_connector": "ray.rllib.connectors.env_to_module:FlattenObservations"}
LIMIT = {"max_episode_steps": 30}
OWN = '''
import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchMultiDistribution,
)
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule


class Two(gymnasium.Env):
    """Two actions at once, each a part of what is wanted; keyword arguments."""

    def __init__(self, steps=12, bonus=1.0):
        self.steps, self.bonus = steps, bonus
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(3)] * 2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.steps
        return self._seen(), {}

    def _seen(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        assert self.action_space.contains(action), action
        self.left -= 1
        reward = self.bonus * float(action[0] == 2) + float(action[1] == 0)
        return self._seen(), reward, self.left == 0, False, {}


class Net(TorchRLModule, ValueFunctionAPI):
    """A network of one's own, from scratch."""

    def setup(self):
        width = self.model_config["width"]
        self.action_dist_cls = TorchMultiDistribution.get_partial_dist_cls(
            child_distribution_cls_struct=(TorchCategorical, TorchCategorical), input_lens=(3, 3)
        )
        outputs = sum(int(space.n) for space in self.action_space.spaces)
        self.body = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh())
        self.head = torch.nn.Linear(width, outputs)
        self.value = torch.nn.Sequential(
            torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)
        )

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.head(self.body(batch[Columns.OBS]))}

    def compute_values(self, batch, embeddings=None):
        return self.value(batch[Columns.OBS]).squeeze(-1)


class Learner(PPOTorchLearner):
    pass


class Notes(RLlibCallback):
    def on_train_result(self, *, algorithm, metrics_logger=None, result, **kwargs):
        with open(algorithm.config.learner_config_dict["notes"], "a") as file:
            file.write(f"{isinstance(algorithm.learner_group._learner, Learner)}\\n")
'''
SCRIPT = '''
import sys
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from mine_runs import Net, Notes, Two
import search


class Longer(Two):
    """Of a script: no other process can import it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps += 3


ppo = (
    PPOConfig()
    .environment(Longer, env_config={"bonus": 2.0})
    .env_runners(
        num_env_runners=0,
        env_to_module_connector=lambda env, spaces, device: FlattenObservations(),
    )
    .training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
    .rl_module(rl_module_spec=RLModuleSpec(module_class=Net, model_config={"width": 7}))
    .callbacks(Notes)
    .learners(learner_config_dict={"notes": sys.argv[2]})
)
results = search.run(ppo, __import__("json").loads(sys.argv[3]), output=sys.argv[1], quiet=True)
print(len(results.front), results.manifest["status"])
'''


def searched(tmp_path, **changes):
    """The results folder of a search of a YAML file, in a process of its own."""
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump({"name": "own", **SETTINGS, **changes}))
    run = prunefront("search", config, "--output", tmp_path / "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    snapshots = rows(tmp_path / "out", "snapshots.jsonl")
    assert snapshots
    assert {s["status"] for s in snapshots} <= {"ok", "infeasible"}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["status"] == "finished"
    return tmp_path / "out", snapshots


@pytest.mark.parametrize(
    ("env", "env_config", "inputs"),
    [
        ("FrozenLake-v1", {"is_slippery": False, **LIMIT}, 16),
        ("Taxi-v3", LIMIT, 500),
        (
            "ray.rllib.examples.envs.classes.cartpole_with_dict_observation_space:"
            "CartPoleWithDictObservationSpace",
            {},
            7,
        ),
    ],
    ids=["FrozenLake", "Taxi", "dict observation"],
)
def test_discrete_and_nested_observations_are_searched_through_a_connector(
    env, env_config, inputs, tmp_path
):
    ppo = {**TRAINING, "env_runners": FLAT}
    _, snapshots = searched(tmp_path, env=env, env_config=env_config, ppo=ppo)
    outputs = {16: 4, 500: 6, 7: 2}[inputs]
    assert {s["total_params"] for s in snapshots} == {8 * inputs + 8 * outputs}
    assert max(s["sparsity"] for s in snapshots) > 0.4


def test_a_module_learner_callbacks_and_environment_of_ones_own_are_searched(tmp_path):
    (tmp_path / "mine_runs.py").write_text(OWN)
    notes = tmp_path / "notes"
    ppo = {
        "training": TRAINING["training"],
        "rl_module": {
            "rl_module_spec": {"module_class": "mine_runs:Net", "model_config": {"width": 7}}
        },
        "learners": {
            "learner_class": "mine_runs:Learner",
            "learner_config_dict": {"notes": str(notes)},
        },
        "callbacks": {"callbacks_class": "mine_runs:Notes"},
    }
    own = {"env": "mine_runs:Two", "env_config": {"bonus": 2.0}, "ppo": ppo, "baselines": ANY_GOOD}
    folder, snapshots = searched(tmp_path, **own)
    # Both parts of an action count, and nothing is worth more than all of both.
    assert all(0.0 <= r <= 12 * 3.0 for s in snapshots for r in s["returns"])
    assert set(notes.read_text().split()) == {"True"}
    evaluated = prunefront("evaluate", folder, "--episodes", "2", "--set", "steps=5", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "steps = 5" in (folder / "shift.csv").read_text()


def test_a_configuration_that_python_hands_over_is_searched_resumed_and_evaluated(tmp_path):
    (tmp_path / "mine_runs.py").write_text(OWN)
    (tmp_path / "script.py").write_text(SCRIPT)
    folder, notes = tmp_path / "out", tmp_path / "notes"
    settings = {**SETTINGS, "baselines": ANY_GOOD}
    words = [sys.executable, "script.py", folder, notes, json.dumps(settings)]
    ended = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment(), timeout=400,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    front, status = ended.stdout.split()[-2:]
    assert (int(front) >= 1, status) == (True, "finished")
    assert (folder / "report.html").is_file()
    before = rows(folder, "snapshots.jsonl")
    assert all(s["lengths"] == [15, 15] for s in before)
    assert yaml.safe_load((folder / "config.yaml").read_text())["env"] == "__main__:Longer"
    counted = len(notes.read_text().split())
    assert counted
    # Without the script: its class is in the folder.
    (tmp_path / "script.py").unlink()
    resumed = prunefront("resume", folder, "budget.env_steps=1536", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    after = rows(folder, "snapshots.jsonl")
    assert len(after) > len(before)
    assert all(s["lengths"] == [15, 15] for s in after)
    assert len(notes.read_text().split()) > counted
    evaluated = prunefront("evaluate", folder, "--episodes", "2", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    again = prunefront("search", folder / "config.yaml", cwd=tmp_path)
    assert_refused(again, "from_python", "prunefront resume")
