"""Calls that are noted and replayed give the very bits of those that aren't."""

import gymnasium as gym
import pytest
import torch
from own_policies import AsDefault, Detached, Normed, Shared, own
from packs import IMAGES, Images
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns

from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.replayed import OFTEN, Replayed
from rllib_ext.packed.replayed_pass import ReplayedPass


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
    (noted,) = replayed._replays._noted.values()
    targets = [str(n.target) for n in noted.__self__.graph.nodes if n.op == "call_function"]
    assert targets == ["aten.mm.default"]


@pytest.mark.parametrize("module_class", [Normed, Shared, Detached])
def test_replayed_gradients_are_autograd_s_through_each_module(module_class):
    env = gym.make("CartPole-v1")
    network = stacked(env, module_class)
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(3, 7, 4, generator=generator)
    given = torch.randn(3, 7, 2, generator=generator), torch.randn(3, 7, generator=generator)
    expected = []
    for i, module in enumerate(network.modules):
        batch = {Columns.OBS: seen[i]}
        outputs = module._forward_train(batch)
        values = module.compute_values(batch, embeddings=outputs.get(Columns.EMBEDDINGS))
        reached = (outputs[Columns.ACTION_DIST_INPUTS], values)
        torch.autograd.backward(reached, [part[i] for part in given])
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
        expected.append(torch.cat([gradient.flatten() for gradient in found]))
    every = []
    for turn in range(OFTEN + 2):
        found = torch.full_like(network.weights, torch.nan)
        passed = network.forward_pass(network.parts(network.weights), seen)
        passed.backward(*given, network.parts(found))
        read = {
            name: [use(torch.tensor([0, 2])) for use in uses]
            for name, uses in passed.activity.items()
        }
        every.append((found, passed.inputs, passed.values, read))
        assert bool(network.computation._pass._replays._noted) is (turn >= OFTEN)
    assert None not in network.computation._pass._replays._noted.values()
    torch.testing.assert_close(every[0][0], torch.stack(expected), rtol=1e-5, atol=1e-6)
    for found, inputs, values, read in every[1:]:
        for one, other in zip((found, inputs, values), every[0], strict=False):
            assert torch.equal(one, other)
        assert read.keys() == every[0][3].keys()
        for name, uses in read.items():
            assert all(map(torch.equal, uses, every[0][3][name]))


def test_what_would_be_overwritten_on_the_way_back_is_not_noted():
    class Spoiling(torch.autograd.Function):
        @staticmethod
        def forward(context, values):
            context.save_for_backward(values)
            return values * 2.0

        @staticmethod
        def backward(context, gradient):
            (values,) = context.saved_tensors
            return values.detach().zero_().add_(gradient)

    def function(parameters, seen):
        inputs = Spoiling.apply(seen * parameters["weight"])
        return inputs, inputs.sum(-1), {}

    replayed = ReplayedPass(function, ["weight"], ["weight"])
    weight, seen = {"weight": torch.tensor([2.0, 3.0])}, torch.ones(1, 4, 2)
    for _ in range(OFTEN + 3):
        passed = replayed(weight, seen)
        (found,) = passed.backward(torch.ones_like(seen), torch.zeros(1, 4))
        assert torch.equal(found, torch.full((2,), 4.0))
