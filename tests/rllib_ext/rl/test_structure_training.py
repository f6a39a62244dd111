"""Real PPO runs that are pruned by units: structure is exact on Learner and EnvRunner all along."""

import copy
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole
from ray.tune import register_env

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.callback import masks_of
from rllib_ext.rl.module.shrinking import policy_size, shrink_policy

# Other processes cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.ray

STEPS = 256
ITERATIONS = 5


class Blobs(gym.Env):
    """A bright pixel that falls down a small image; reward for choosing the half that it is in."""

    observation_space = gym.spaces.Box(0.0, 1.0, (8, 8, 1), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.row, self.column = 0, 0

    def _image(self):
        image = np.zeros((8, 8, 1), np.float32)
        image[self.row, self.column] = 1.0
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row, self.column = 0, int(self.np_random.integers(8))
        return self._image(), {}

    def step(self, action):
        reward = float(action == (self.column >= 4))
        self.row += 1
        done = self.row == 7
        return self._image(), reward, done, False, {}


register_env("blobs", Blobs)
register_env("stateless", StatelessCartPole)

SETTINGS = {
    "mlp": ("CartPole-v1", {"fcnet_hiddens": [24, 16], "vf_share_layers": False}),
    "shared": ("CartPole-v1", {"fcnet_hiddens": [24, 16], "vf_share_layers": True}),
    "cnn": (
        "blobs",
        {"conv_filters": [[8, 3, 2], [8, 3, 1]], "head_fcnet_hiddens": [16]},
    ),
    "lstm": (
        "stateless",
        {"fcnet_hiddens": [16], "use_lstm": True, "lstm_cell_size": 12, "max_seq_len": 8},
    ),
}


def configured(name: str, **pruning):
    env, model = SETTINGS[name]
    ppo = (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=STEPS, minibatch_size=128, num_epochs=2, lr=3e-3)
        .rl_module(model_config=model)
        .debugging(seed=3, log_level="ERROR")
    )
    values = {
        "final_sparsity": 0.8,
        "granularity": "neuron",
        "scope": "layerwise",
        "schedule": "linear",
        "begin": 0.0,
        "end": 0.8,
        "horizon": STEPS * ITERATIONS,
        **pruning,
    }
    return with_pruning(ppo, PruningConfig(**values))


def assert_exact(pruner, module) -> None:
    """In this module, all that went with a removed unit is zero, biases included."""
    removed = pruner.structure.removed(pruner.masks)
    parameters = dict(module.named_parameters())
    for name, mask in pruner.masks.items():
        if name in parameters:
            assert not parameters[name].detach()[~mask].any()
    for name, groups in pruner.structure.biases.items():
        if name in parameters:
            gone = [i for i, g in enumerate(groups.tolist()) if g >= 0 and removed[g]]
            assert not parameters[name].detach()[gone].any()


@pytest.mark.parametrize("name", SETTINGS)
def test_structure_is_exact_in_every_iteration_and_shrinks_at_the_end(name, tmp_path):
    algorithm = configured(name).build_algo()
    try:
        pruner = algorithm.learner_group._learner.pruner
        learned = algorithm.learner_group._learner.module["default_policy"].unwrapped()
        before = pruner.masks
        steps = []
        for _ in range(ITERATIONS):
            report = algorithm.train()["pruning"]
            assert_exact(pruner, learned)
            assert_exact(pruner, algorithm.get_module())
            assert report["sparsity"] <= report["target_sparsity"]
            assert all(bool((pruner.masks[n] <= mask).all()) for n, mask in before.items())
            before = copy.deepcopy(pruner.masks)
            steps.append(report["groups_left"])
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] < steps[0] <= report["groups"]
        assert report["sparsity"] > 0.6
        masks = masks_of(algorithm)
        shrunk = shrink_policy(learned, masks)
        assert shrunk.after.macs < shrunk.before.macs
        size = policy_size(algorithm.get_module(), masks)
        assert size == policy_size(learned, masks)
        assert size["shrunk_params"] < 0.6 * size["dense_params"]
        algorithm.save_to_path(tmp_path / "checkpoint")
    finally:
        algorithm.stop()
    restored = configured(name).build_algo()
    try:
        restored.restore_from_path(tmp_path / "checkpoint")
        pruner = restored.learner_group._learner.pruner
        assert all(torch.equal(pruner.masks[n], mask) for n, mask in masks.items())
        restored.train()
        assert_exact(pruner, restored.get_module())
    finally:
        restored.stop()


def _look(learner):
    pruner = learner.pruner
    parameters = {n: p.detach().numpy() for n, p in pruner.module.named_parameters()}
    return parameters, {n: m.numpy() for n, m in pruner.masks.items()}


def test_two_learners_remove_the_same_units():
    config = configured("shared", end=0.4).learners(num_learners=2, num_gpus_per_learner=0)
    # Each rank on its own would draw other scores.
    pruning = config.learner_config_dict["pruning"]
    pruning["criterion"] = "gradient"
    algorithm = config.build_algo()
    try:
        for _ in range(2):
            report = algorithm.train()["pruning"]
        (ours, masks), (theirs, their_masks) = (
            result.get() for result in algorithm.learner_group.foreach_learner(_look)
        )
    finally:
        algorithm.stop()
    assert report["groups_left"] < report["groups"]
    assert all(np.array_equal(mask, their_masks[name]) for name, mask in masks.items())
    assert all(np.array_equal(value, theirs[name]) for name, value in ours.items())
    first = masks["encoder.encoder.net.mlp.0.weight"]
    assert not ours["encoder.encoder.net.mlp.0.bias"][~first.any(1)].any()


def test_a_layer_of_a_plain_network_cannot_go():
    with pytest.raises(ConfigError, match="path around"):
        configured("mlp", granularity="layer").build_algo()


def test_a_single_observation_has_no_branch():
    with pytest.raises(ConfigError, match="dict observation"):
        configured("mlp", granularity="branch").build_algo()
