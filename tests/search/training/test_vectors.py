"""What linear policies and trees are made for, and what is refused with which reason."""

import numpy as np
import pytest
from linear_world import Aim, Seen

from rllib_ext.pruning.errors import ConfigError
from search.training.plain_sizes_of import plain_sizes_of
from search.training.vectors import vectors_of


def test_discrete_actions_need_a_row_of_weights_less_than_there_are_actions(small_ppo):
    assert vectors_of("linear", small_ppo()).linear == 4
    acrobot = vectors_of("linear", small_ppo("Acrobot-v1"))
    assert (acrobot.inputs, acrobot.actions, acrobot.linear) == (6, 3, 12)


def test_continuous_actions_have_the_bounds_that_rllib_gives_them(small_ppo):
    pendulum = small_ppo("Pendulum-v1")
    found = vectors_of("tree", pendulum)
    assert (found.linear, found.low, found.high) == (3, -1.0, 1.0)
    bounds = {"normalize_actions": False, "clip_actions": True}
    plain = small_ppo("Pendulum-v1").environment("Pendulum-v1", **bounds)
    clipped = vectors_of("tree", plain)
    assert (clipped.low, clipped.high) == ([-2.0], [2.0])


def test_sizes_are_those_of_the_network_and_the_spaces(small_ppo):
    plain = plain_sizes_of(small_ppo(Aim))
    assert plain.layers == ((16, 3), (16, 16), (2, 16))
    assert (plain.linear, plain.leaf, plain.refused) == (3, 1, {})
    continuous = small_ppo(Aim).environment(Aim, env_config={"continuous": True})
    assert plain_sizes_of(continuous).leaf == 1


@pytest.mark.parametrize(("kind", "told"), [("picture", "a Box of shape"), ("dict", "a Dict")])
def test_pictures_and_dicts_are_refused_with_the_reason(small_ppo, kind, told):
    model = {"conv_filters": [[4, 4, 4]]} if kind == "picture" else {}
    ppo = small_ppo(Seen).environment(Seen, env_config={"kind": kind}).rl_module(model_config=model)
    if kind == "dict":
        # RLlib's own network takes no dict at all, and the connector that it names makes a vector.
        from ray.rllib.connectors.env_to_module import FlattenObservations

        ppo.env_runners(env_to_module_connector=lambda *given: FlattenObservations())
        assert vectors_of("linear", ppo).linear == 6
        return
    with pytest.raises(ConfigError, match=told):
        vectors_of("linear", ppo)
    assert set(plain_sizes_of(ppo).refused) == {"small_dense", "linear", "tree"}


def test_a_policy_with_a_memory_is_refused(small_ppo):
    ppo = small_ppo().rl_module(model_config={"use_lstm": True, "max_seq_len": 4})
    with pytest.raises(ConfigError, match="has a memory"):
        vectors_of("tree", ppo)
    assert np.isfinite(len(plain_sizes_of(ppo).refused))
