"""The critic of any module: RLlib's examples, users' own, and what can't be run."""

import copy
import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.examples.offline_rl.train_w_bc_finetune_w_ppo import MyPPOModel
from rllib_modules import EXAMPLES, build_example
from torch import nn

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.policy.store import compressed_size
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.rl.module.critic import critic_names

CRITICS = {
    "tiny cnn": ["_values"],
    "lstm": ["_values"],
    "lstm with targets": ["_values"],
    "own distribution": ["_vf"],
    "autoregressive": ["_value_net"],
    "action masking": ["encoder.critic_encoder", "vf"],
    "cloned, then ppo": ["_vf"],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_critic_of_rllibs_examples_is_found(name):
    module = build_example(name)
    assert critic_names(module) == CRITICS[name]
    weights = prunable_weights(module, critic_names(module))
    assert weights.policy
    assert weights.critic
    for weight in weights.critic:
        assert weight.startswith(tuple(CRITICS[name]))
    assert not any(weight.startswith(tuple(CRITICS[name])) for weight in weights.policy)


@pytest.mark.parametrize("name", ["tiny cnn", "lstm", "autoregressive", "cloned, then ppo"])
def test_a_module_that_runs_episodes_keeps_its_critic_but_it_does_not_count(name):
    runner = build_example(name, inference_only=True)
    assert critic_names(runner) == CRITICS[name]
    assert compressed_size(runner) == compressed_size(build_example(name))
    before = compressed_size(runner)
    with torch.no_grad():
        for part in CRITICS[name]:
            for parameter in runner.get_submodule(part).parameters():
                parameter.normal_()
    assert compressed_size(runner) == before


def test_copies_for_a_target_are_not_the_policys():
    module = build_example("lstm with targets")
    module.make_target_networks()
    assert critic_names(module) == ["_values", "_old_lstm", "_old_fc_net", "_old_pi_head"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_looking_for_a_critic_leaves_everything_as_it_was(name):
    module = build_example(name)
    next(module.parameters()).requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    frozen = [p.requires_grad for p in module.parameters()]
    draws = torch.random.get_rng_state()
    critic_names(module)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == frozen
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), draws)
    assert module.training


class Own(TorchRLModule, ValueFunctionAPI):
    """A user's own; subclasses say how features become logits and values."""

    def setup(self):
        self.encoder, self.other = nn.Linear(5, 8), nn.Linear(5, 8)
        self.pi, self.value = nn.Linear(8, 3), nn.Linear(8, 1)

    def logits(self, batch):
        return self.pi(self.encoder(batch[Columns.OBS]))

    def features_of_value(self, batch):
        return self.encoder(batch[Columns.OBS])

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.logits(batch)}

    def compute_values(self, batch, embeddings=None):
        return self.value(self.features_of_value(batch)).squeeze(-1)


class Detached(Own):
    """Only the value trains the encoder, but actions are computed with it."""

    def logits(self, batch):
        return self.pi(self.encoder(batch[Columns.OBS]).detach())


class Chosen(Own):
    """What the encoder is largest in chooses the action's features; no gradient passes."""

    def logits(self, batch):
        chosen = self.encoder(batch[Columns.OBS]).argmax(-1)
        return self.pi(nn.functional.one_hot(chosen, 8).float())


class Apart(Own):
    """An encoder for each; a critic whose weights are zero to begin with."""

    def setup(self):
        super().setup()
        nn.init.zeros_(self.value.weight)

    def features_of_value(self, batch):
        return self.other(batch[Columns.OBS])


class Scaled(Own):
    """A parameter of the module itself belongs to the critic, another to the policy."""

    def setup(self):
        super().setup()
        self.value_scale = nn.Parameter(torch.ones(8))
        self.logit_scale = nn.Parameter(torch.ones(3))

    def logits(self, batch):
        return super().logits(batch) * self.logit_scale

    def features_of_value(self, batch):
        return super().features_of_value(batch) * self.value_scale


class Remembering(Own):
    """What the value reads is what the next call's action is computed with."""

    def get_initial_state(self):
        return {"h": np.zeros(8, np.float32)}

    def _forward(self, batch, **kwargs):
        steps = batch[Columns.OBS].shape[1]
        before = batch[Columns.STATE_IN]["h"].unsqueeze(1).expand(-1, steps, -1)
        left = self.other(batch[Columns.OBS])[:, -1]
        return {
            Columns.ACTION_DIST_INPUTS: self.pi(before + self.encoder(batch[Columns.OBS])),
            Columns.STATE_OUT: {"h": left},
        }

    def features_of_value(self, batch):
        return self.other(batch[Columns.OBS])


class Sampling(Own):
    """Draws its actions itself and returns nothing but them."""

    def _forward(self, batch, **kwargs):
        logits = self.logits(batch)
        return {Columns.ACTIONS: torch.distributions.Categorical(logits=logits).sample()}


class Unused(Own):
    """A part that nothing runs: an output for training, or a branch that values choose."""

    def setup(self):
        super().setup()
        self.auxiliary = nn.Linear(8, 2)


OWN = {
    Own: ["value"],
    Detached: ["value"],
    Chosen: ["value"],
    Apart: ["other", "value"],
    Scaled: ["value_scale", "value"],
    Remembering: ["value"],
    Sampling: ["value"],
    Unused: ["value"],
}
SPACES = {
    "observation_space": gym.spaces.Box(-1.0, 1.0, (5,), np.float32),
    "action_space": gym.spaces.Discrete(3),
}


@pytest.mark.parametrize("module_class", OWN)
def test_what_reaches_an_action_too_is_the_policys(module_class):
    torch.manual_seed(0)
    assert critic_names(module_class(**SPACES)) == OWN[module_class]


class Unrunnable(Own):
    """Needs a column that only training has."""

    def _forward_train(self, batch, **kwargs):
        return {**self._forward(batch), "next": batch[Columns.NEXT_OBS]}


class Declaring(Unrunnable, InferenceOnlyAPI):
    def get_non_inference_attributes(self):
        return ["value"]


def test_a_module_that_cannot_be_run_is_refused_with_the_mend():
    with pytest.raises(ConfigError, match=r"Unrunnable .*KeyError.*get_non_inference_attributes"):
        critic_names(Unrunnable(**SPACES))


def test_a_module_that_cannot_be_run_but_names_its_critic_is_believed(caplog):
    with caplog.at_level(logging.WARNING):
        assert critic_names(Declaring(**SPACES)) == ["value"]
    assert "Declaring does not run on example inputs" in caplog.text


def test_a_part_that_a_module_wrongly_names_stays_the_policys():
    class Wrong(Own, InferenceOnlyAPI):
        def get_non_inference_attributes(self):
            return ["value", "pi"]

    assert critic_names(Wrong(**SPACES)) == ["value"]


class WithoutZeros(MyPPOModel):
    """The example's value head is zero throughout and stays so, which hides what is pruned."""

    def setup(self):
        super().setup()
        for parameter in self._vf.parameters():
            nn.init.normal_(parameter, std=1e-4)


@pytest.mark.ray
def test_a_policy_that_was_cloned_first_is_pruned_beside_its_critic():
    """RLlib's example of PPO after BC, whose value head has the smallest weights of all."""
    ppo = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=256, minibatch_size=128, num_epochs=2)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=WithoutZeros))
        .debugging(seed=1, log_level="ERROR")
    )
    pruning = PruningConfig(final_sparsity=0.5, begin=0.0, end=0.5, horizon=768)
    algorithm = with_pruning(ppo, pruning).build_algo()
    try:
        for _ in range(3):
            report = algorithm.train()["pruning"]
        weights = algorithm.get_module().state_dict()
    finally:
        algorithm.stop()
    matrices = {name: w for name, w in weights.items() if w.dim() > 1}
    policy = [w for name, w in matrices.items() if not name.startswith("_vf")]
    total = sum(w.numel() for w in policy)
    assert total == 4 * 256 + 256 * 256 + 256 * 256 + 256 * 2
    assert sum(int((w == 0).sum()) for w in policy) == round(0.5 * total) == report["zeros"]
    assert all(bool(w.all()) for name, w in matrices.items() if name.startswith("_vf"))
    assert report["sparsity"] == pytest.approx(0.5)
    assert report["critic_sparsity"] == 0.0
