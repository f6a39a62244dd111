"""Small dense policies: their size, their critic, and that RLlib trains and loads them."""

import gymnasium
import pytest
import torch

from rllib_ext import load_policy
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.policy.store import save_policy
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.with_pruning import build_algorithm
from search.training.small_dense import small_dense


def shapes(ppo):
    """Shapes of weight matrices of the policy path and of the critic."""
    module = blueprint_of(ppo).module(seed=0)
    critic = tuple(module.get_non_inference_attributes())
    found = {n: tuple(p.shape) for n, p in module.named_parameters() if n.endswith("weight")}
    policy = [s for n, s in found.items() if not n.startswith(critic)]
    return policy, [s for n, s in found.items() if n.startswith(critic)]


def test_the_policy_has_as_many_weights_as_fit_and_the_critic_stays(small_ppo):
    ppo = small_ppo().rl_module(model_config={"fcnet_hiddens": [64, 32], "vf_share_layers": False})
    _, critic = shapes(ppo)
    expected = {100: (10, 5), 99: (9, 4), 45: (5, 2), 2368: (64, 32), 10**6: (64, 32)}
    for weights, hidden in expected.items():
        policy, own_critic = shapes(small_dense(ppo, weights))
        assert policy == [(hidden[0], 4), hidden[::-1], (2, hidden[1])]
        assert own_critic == critic
        assert sum(a * b for a, b in policy) <= weights
    # The smallest: one unit a layer.
    assert shapes(small_dense(ppo, 2))[0] == [(1, 4), (1, 1), (2, 1)]


def test_layers_that_actor_and_critic_share_shrink_for_both(small_ppo):
    ppo = small_ppo().rl_module(model_config={"fcnet_hiddens": [16, 16], "vf_share_layers": True})
    assert shapes(small_dense(ppo, 72))[0] == [(6, 4), (6, 6), (2, 6)]


def test_layers_of_the_head_shrink_with_those_of_the_encoder(small_ppo):
    ppo = small_ppo("Pendulum-v1").rl_module(
        model_config={
            "fcnet_hiddens": [16],
            "head_fcnet_hiddens": [8],
            "vf_share_layers": False,
        }
    )
    # 7 · 3 + 4 · 7 + 2 · 4 = 57; one unit more would make 72.
    policy, critic = shapes(small_dense(ppo, 60))
    assert policy == [(7, 3), (4, 7), (2, 4)]
    assert critic == [(16, 3), (8, 16), (1, 8)]


class Pictures(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (16, 16, 1))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, config=None):
        pass


def test_networks_that_no_width_describes_are_refused(small_ppo):
    recurrent = small_ppo().rl_module(model_config={"use_lstm": True})
    with pytest.raises(ConfigError, match="no chain of linear layers"):
        small_dense(recurrent, 100)
    convolution = small_ppo(Pictures).rl_module(model_config={"conv_filters": [[4, 4, 4]]})
    with pytest.raises(ConfigError, match="no chain of linear layers"):
        small_dense(convolution, 100)


@pytest.mark.ray
def test_rllib_trains_it_and_it_acts_from_disk(small_ppo, tmp_path):
    ppo = small_ppo().rl_module(model_config={"fcnet_hiddens": [16, 16], "vf_share_layers": False})
    small = small_dense(ppo, 72)
    algorithm = build_algorithm(small)
    try:
        before = {n: p.clone() for n, p in algorithm.get_module().named_parameters()}
        algorithm.train()
        after = dict(algorithm.get_module().named_parameters())
        save_policy(algorithm, {}, tmp_path / "policy", {})
    finally:
        algorithm.stop()
    assert all(not torch.equal(before[n], p) for n, p in after.items())
    policy = load_policy(tmp_path / "policy")
    policy.begin([0])
    assert policy.act([0], [gymnasium.make("CartPole-v1").reset(seed=0)[0]], [0.0])[0] in (0, 1)
    loaded = {n: tuple(p.shape) for n, p in policy.module.named_parameters()}
    assert loaded == {n: tuple(p.shape) for n, p in after.items()}
