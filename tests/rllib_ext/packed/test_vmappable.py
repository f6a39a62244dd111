"""Which modules are stacked by torch.func.vmap, and what is said of those that aren't."""

import gymnasium as gym
import numpy as np
import own_policies
import pytest
import torch
from own_modules import Branching
from own_policies import Normed, own
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from rllib_modules import EXAMPLES, build_example

from rllib_ext.packed.kinds import computation_of
from rllib_ext.packed.network import build_module
from rllib_ext.packed.vmapped import Vmapped
from rllib_ext.packed.written_out import WrittenOut
from rllib_ext.pruning.errors import ConfigError

REFUSED = {
    "BatchNormed": r"a BatchNorm1d \(body.1\), whose running statistics .* such as LayerNorm",
    "Dropped": "a Dropped that draws random numbers",
    "Deciding": "a Deciding that goes where its own values say",
    "Reading": r"a Reading that takes single values out of tensors \(`.item\(\)`",
    "Drawn": "a Drawn whose buffer features is drawn anew for each member",
    "DrawnOutside": "a DrawnOutside that computes something else",
    "Counting": "a Counting that changes its own buffers or parameters",
    "Choosing": "a Choosing that chooses actions itself",
    "Remembering": r"a memory \(a Remembering carries a state .*GRU\); expected a feed-forward policy",
}
BOX = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)


def built(module_class, observations=BOX, actions=None, count=2):
    spec = RLModuleSpec(
        module_class=module_class,
        observation_space=observations,
        action_space=actions or gym.spaces.Discrete(2),
        model_config={"fcnet_hiddens": [8]},
    )
    return [build_module(spec, seed) for seed in range(count)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stacked_is_refused_with_the_reason(name):
    with pytest.raises(
        ConfigError, match=rf"^members cannot be stacked: .*{REFUSED[name]}.*rllib engine\.$"
    ):
        computation_of(built(getattr(own_policies, name)))


def test_a_branch_in_a_subclass_of_rllib_s_module_is_found():
    with pytest.raises(ConfigError, match="a Branching that goes where its own values say"):
        computation_of(built(Branching))


@pytest.mark.parametrize(
    ("observations", "actions", "said"),
    [
        (BOX, gym.spaces.MultiDiscrete([2, 3]), "the action space"),
        (gym.spaces.Text(4), None, "the observation space"),
        (gym.spaces.Box(0, 2**30, (3,), np.int64), None, "integers up to"),
        (gym.spaces.Dict({"a": gym.spaces.Sequence(BOX)}), None, "the observation space"),
    ],
)
def test_spaces_that_rows_of_numbers_cannot_carry_are_refused(observations, actions, said):
    modules = built(Normed)
    for module in modules:
        module.observation_space = observations
        module.action_space = actions or module.action_space
    with pytest.raises(ConfigError, match=said):
        computation_of(modules)


def test_a_module_without_values_is_refused():
    modules = built(Normed)
    modules[0].inference_only = True
    with pytest.raises(ConfigError, match="without a value function"):
        computation_of(modules)


@pytest.mark.parametrize("name", EXAMPLES)
def test_of_rllib_s_own_examples_those_without_memory_and_own_distributions_are_stacked(name):
    modules = [build_example(name)]
    refused = {
        "lstm": "a memory",
        "lstm with targets": "a memory",
        "own distribution": "the action distribution",
        "autoregressive": "the action space",
    }
    if name in refused:
        with pytest.raises(ConfigError, match=refused[name]):
            computation_of(modules)
    else:
        assert isinstance(computation_of(modules), Vmapped)


def test_what_is_looked_at_stays_as_it_was():
    modules = built(Normed)
    before = [{n: v.clone() for n, v in m.state_dict().items()} for m in modules]
    torch.manual_seed(3)
    drawn = torch.random.get_rng_state()
    computation_of(modules)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    for module, values in zip(modules, before, strict=True):
        assert module.training
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
        assert all(torch.equal(v, values[n]) for n, v in module.state_dict().items())
        assert not module.body[0]._forward_pre_hooks


def test_rllib_s_own_networks_are_written_out():
    spec = PPOConfig().rl_module(model_config={"fcnet_hiddens": [8]})
    module = spec.get_rl_module_spec(env=gym.make("CartPole-v1")).build()
    assert isinstance(computation_of([module]), WrittenOut)
    spec = PPOConfig().rl_module(**own(own_policies.AsDefault, fcnet_hiddens=[8]))
    module = spec.get_rl_module_spec(env=gym.make("CartPole-v1")).build()
    assert isinstance(computation_of([module]), Vmapped)
