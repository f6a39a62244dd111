"""Calls that are noted and replayed give the very bits of those that aren't."""

import gymnasium as gym
import pytest
import torch
from own_policies import AsDefault, Normed, own
from packs import IMAGES, Images
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.replayed import OFTEN, Replayed


def stacked(env, module_class, **model):
    config = PPOConfig().rl_module(**own(module_class, **model))
    spec = config.get_rl_module_spec(env=env)
    return StackedNetwork([build_module(spec, seed) for seed in range(3)])


@pytest.mark.parametrize("images", [False, True])
def test_replayed_calls_give_the_same_bits_for_every_shape(images):
    env = Images() if images else gym.make("CartPole-v1")
    network = stacked(env, AsDefault, **IMAGES) if images else stacked(env, Normed)
    shape = env.observation_space.shape
    generator = torch.Generator().manual_seed(0)
    computation, parameters = network.computation, network.parts(network.weights)
    for call in (computation.act, computation.value, computation.most_likely):
        for batch in (5, 8):
            seen = torch.randn(3, batch, *shape, generator=generator)
            found = [call(parameters, seen) for _ in range(OFTEN + 2)]
            assert all(torch.equal(found[0], each) for each in found[1:])
    # What it is given is read, not what was there when it was noted.
    expected = computation.act(parameters, seen).clone()
    assert not torch.equal(computation.act(parameters, seen.flip(1)), expected)
    network.weights.mul_(0.5)
    assert not torch.equal(computation.act(parameters, seen), expected)


def test_what_is_noted_is_the_function_s_arithmetic_alone():
    calls = []

    def function(parameters, seen):
        calls.append(seen.shape)
        unread = (parameters["weight"] * 3.0).tanh()
        assert unread.shape
        return seen.view(2, 2) @ parameters["weight"].expand(2, 2)

    replayed = Replayed(function, ["weight"])
    weight = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    for _ in range(2 * OFTEN):
        assert torch.equal(replayed(weight, torch.eye(2)), weight["weight"])
    # It was called so often, and once to be noted.
    assert len(calls) == OFTEN + 1
    (noted,) = replayed._noted.values()
    targets = [str(n.target) for n in noted.__self__.graph.nodes if n.op == "call_function"]
    assert targets == ["aten.mm.default"]
