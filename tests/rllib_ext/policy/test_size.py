"""What a search can steer by, against networks whose size is counted by hand."""

import gymnasium
import pytest
import torch
from own_modules import Branching
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.policy.size import measured_size

NAMES = ("units", "params", "macs")
WIDTHS = (16, 8)


def built(module_class=DefaultPPOTorchRLModule):
    """CartPole: 4 observations, 2 actions, actor and critic apart."""
    env = gymnasium.make("CartPole-v1")
    torch.manual_seed(0)
    return RLModuleSpec(
        module_class=module_class,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config=DefaultModelConfig(
            fcnet_hiddens=list(WIDTHS), fcnet_activation="tanh", vf_share_layers=False
        ),
        catalog_class=PPOCatalog,
    ).build()


@pytest.fixture
def module():
    return built()


def all_kept(module):
    return {
        n: torch.ones_like(p, dtype=torch.bool) for n, p in module.named_parameters() if p.dim() > 1
    }


def actor_layers(module):
    """The three weight matrices from observation to action, in order."""
    names = [
        n
        for n, p in module.named_parameters()
        if p.dim() > 1 and "critic" not in n and not n.startswith(("vf", "second"))
    ]
    assert [tuple(module.get_parameter(n).shape) for n in names] == [(16, 4), (8, 16), (2, 8)]
    return names


def by_hand(first, second):
    params = 4 * first + first + first * second + second + second * 2 + 2
    return {
        "units": float(sum(WIDTHS) - first - second),
        "params": float(params),
        "macs": float(4 * first + first * second + second * 2),
    }


def test_a_policy_that_lost_nothing_is_as_large_as_it_was_built(module):
    assert measured_size(NAMES, module, all_kept(module)) == by_hand(16, 8)


@pytest.mark.parametrize(("first", "second"), [(16, 3), (5, 8), (4, 2), (1, 1)])
def test_removed_units_are_counted_and_cost_nothing_any_more(module, first, second):
    masks = all_kept(module)
    one, two, three = actor_layers(module)
    masks[one][first:] = False
    masks[two][:, first:] = False
    masks[two][second:] = False
    masks[three][:, second:] = False
    assert measured_size(NAMES, module, masks) == by_hand(first, second)


def test_scattered_zeros_remove_no_unit(module):
    masks = all_kept(module)
    masks[actor_layers(module)[1]][::2, ::2] = False
    assert measured_size(NAMES, module, masks) == by_hand(16, 8)


def test_the_critics_units_do_not_count(module):
    masks = all_kept(module)
    for name, mask in masks.items():
        if "critic" in name:
            mask[1:] = False
    assert measured_size(NAMES, module, masks) == by_hand(16, 8)


def test_a_policy_without_a_smaller_equal_is_as_large_as_it_was_built():
    module = built(Branching)
    masks = all_kept(module)
    # Its second layer has 2 × 2 weights, and runs or not.
    masks[actor_layers(module)[0]][4:] = False
    whole = by_hand(16, 8)
    found = measured_size(NAMES, module, masks)
    assert (found["units"], found["params"]) == (0.0, whole["params"] + 4)
    assert found["macs"] in (whole["macs"], whole["macs"] + 4)


def test_only_what_is_asked_for_is_measured(module):
    assert measured_size((), module, {}) == {}
    assert measured_size(("macs",), module, all_kept(module)) == {"macs": 208.0}
