"""Stacked networks against the RLlib modules that they are made of."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.pruning.errors import ConfigError


def spec_of(config):
    return config.get_rl_module_spec(env=env_maker(config)())


def outputs(module, observations):
    batch = {Columns.OBS: observations}
    with torch.no_grad():
        found = module._forward_train(batch)
        return found[Columns.ACTION_DIST_INPUTS], module.compute_values(batch)


def together(network, observations):
    """Inputs of distributions, and values, of all members."""
    passed = network.forward_pass(network.parts(network.weights), observations)
    return passed.inputs.clone(), passed.values.clone()


def test_outputs_are_those_of_each_member_s_own_module(kind):
    config, space, _ = kind
    modules = [build_module(spec_of(config), seed).double() for seed in range(3)]
    network = StackedNetwork(modules)
    observations = torch.randn(3, 7, *space.shape, dtype=torch.float64)
    inputs, values = together(network, observations)
    for i, module in enumerate(modules):
        expected_inputs, expected_values = outputs(module, observations[i])
        torch.testing.assert_close(inputs[i], expected_inputs, rtol=0, atol=1e-12)
        torch.testing.assert_close(values[i], expected_values, rtol=0, atol=1e-12)
    flat = observations.flatten(2)
    assert torch.equal(network.act(network.parts(network.weights), flat), inputs)
    assert torch.equal(network.value(network.parts(network.weights), observations), values)


def test_large_log_standard_deviations_are_clipped_as_in_rllib(packed_ppo):
    for free in (False, True):
        config = packed_ppo("Pendulum-v1", {"free_log_std": free, "log_std_clip_param": 0.3})
        network = StackedNetwork([build_module(spec_of(config), 0)])
        network.weights.normal_(std=2.0, generator=torch.Generator().manual_seed(1))
        observations = torch.randn(1, 50, 3)
        found = network.act(network.parts(network.weights), observations)
        expected, _ = outputs(network.modules[0], observations[0])
        torch.testing.assert_close(found[0], expected)
        assert float(found[..., 1].abs().max()) == pytest.approx(0.3)


def test_a_member_s_state_loads_into_plain_rllib_and_back(kind, tmp_path):
    config, space, _ = kind
    spec = spec_of(config)
    network = StackedNetwork([build_module(spec, seed) for seed in range(2)])
    network.weights += 0.1
    plain = spec.build()
    plain.set_state(network.modules[1].get_state())
    observations = torch.randn(2, 5, *space.shape)
    inputs, values = together(network, observations)
    torch.testing.assert_close(outputs(plain, observations[1]), (inputs[1], values[1]))
    other = build_module(spec, seed=9)
    expected = {name: p.detach().clone() for name, p in other.named_parameters()}
    network.adopt(0, other)
    assert set(network.slots) == set(expected)
    for name, value in expected.items():
        assert torch.equal(network.part(network.weights[0], name), value)
    network.modules[1].save_to_path(tmp_path / "module")
    again = type(plain).from_checkpoint(tmp_path / "module")
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), network.modules[1].parameters(), strict=True)
    )


def test_writing_to_a_member_s_module_changes_its_row_and_no_other(packed_ppo):
    spec = spec_of(packed_ppo())
    network = StackedNetwork([build_module(spec, seed) for seed in range(3)])
    before = network.weights.clone()
    with torch.no_grad():
        for parameter in network.modules[1].parameters():
            parameter.fill_(7.0)
    assert bool((network.weights[1] == 7.0).all())
    assert torch.equal(network.weights[[0, 2]], before[[0, 2]])


def test_initialisation_is_rllib_s_and_leaves_the_global_generator_alone(packed_ppo):
    spec = spec_of(packed_ppo())
    torch.manual_seed(5)
    expected = spec.build().state_dict()
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    found = build_module(spec, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Observing(gym.Env):
    """An environment of given spaces that is never stepped."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
DISCRETE = gym.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("observations", "actions", "model", "said"),
    [
        (BOX, DISCRETE, {"use_lstm": True, "max_seq_len": 4}, "a memory .*LSTM.*rllib engine"),
        (
            gym.spaces.Box(0, 1, (4, 4), np.float32),
            DISCRETE,
            {},
            "observation space .*DtypeObservation",
        ),
        (
            gym.spaces.Box(0, 1, (4, 4, 2), bool),
            DISCRETE,
            {},
            "observation space .*DtypeObservation",
        ),
        (gym.spaces.Discrete(4), DISCRETE, {}, "observation space .*DtypeObservation"),
        (BOX, gym.spaces.MultiDiscrete([2, 3]), {}, "action space .*rllib engine"),
        (BOX, gym.spaces.Discrete(3, start=1), {}, "action space .*rllib engine"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_the_reason(observations, actions, model, said):
    config = PPOConfig().rl_module(model_config={"fcnet_hiddens": [8], **model})
    # For other observations RLlib itself builds no network.
    spec = config.get_rl_module_spec(env=Observing(BOX, actions))
    module = spec.build()
    module.observation_space = observations
    with pytest.raises(ConfigError, match=rf"(?s){said}"):
        StackedNetwork([module])


class Cold(TorchCategorical):
    """Over the same actions, but another."""


class Straight(TorchDiagGaussian):
    """Over the same actions, but another."""


class OwnCatalog(PPOCatalog):
    """Gives RLlib's networks other action distributions."""

    def get_action_dist_cls(self, framework):
        discrete = isinstance(self.action_space, gym.spaces.Discrete)
        return Cold if discrete else Straight


@pytest.mark.parametrize(("actions", "said"), [(DISCRETE, "Cold"), (BOX, "Straight")])
def test_another_action_distribution_is_refused(actions, said):
    config = PPOConfig().rl_module(
        rl_module_spec=RLModuleSpec(catalog_class=OwnCatalog), model_config={"fcnet_hiddens": [8]}
    )
    module = config.get_rl_module_spec(env=Observing(BOX, actions)).build()
    assert module.get_train_action_dist_cls().__name__ == said
    with pytest.raises(
        ConfigError, match=rf"action distribution {said}; expected Torch.*rllib engine"
    ):
        StackedNetwork([module])


@pytest.mark.parametrize("purpose", ["train", "exploration", "inference"])
def test_an_action_distribution_for_one_purpose_is_refused(packed_ppo, monkeypatch, purpose):
    module = build_module(spec_of(packed_ppo()), 0)
    monkeypatch.setattr(module, f"get_{purpose}_action_dist_cls", lambda: Cold)
    with pytest.raises(ConfigError, match="action distribution Cold"):
        StackedNetwork([module])


def test_members_of_different_sizes_are_refused(packed_ppo):
    small = build_module(spec_of(packed_ppo(model={"fcnet_hiddens": [8]})), 0)
    large = build_module(spec_of(packed_ppo()), 0)
    with pytest.raises(ConfigError, match="member 1 cannot be stacked"):
        StackedNetwork([large, small])
