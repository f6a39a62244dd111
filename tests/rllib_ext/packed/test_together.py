"""Several saved policies at once against each by itself."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from packs import IMAGES, ContinuousImages, Images, started
from ray.rllib.connectors.env_to_module import MeanStdFilter

from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import ConstantPolicy, RandomPolicy
from rllib_ext.packed.stacked_policy import StackedPolicy
from rllib_ext.packed.together import Together, evaluate_together

SEEDS = (5, 6, 7, 11, 12)


def filtered(env, spaces, device):
    return MeanStdFilter()


def clipped(env, spaces, device):
    return MeanStdFilter(de_mean_to_zero=False, de_std_to_one=False, clip_by_value=0.3)


def policies_of(packed_ppo, env, model, runners=None, members=3):
    """Policies of a pack that has learned for a while, and what builds its environment."""

    def make(config=None):
        if isinstance(env, type):
            return env()
        return gym.make(env, max_episode_steps=80, disable_env_checker=True)

    pack = started(packed_ppo(make, model, runners or {}), members=members, iterations=2)
    policies = [pack.policy(i).policy() for i in range(members)]
    rng = np.random.default_rng(0)
    for policy in policies:
        # Fresh ones hardly differ in what they do.
        for parameter in policy.module.parameters():
            parameter.data += torch.from_numpy(rng.normal(0.0, 0.3, parameter.shape)).float()
    return policies, make


KINDS = [
    ("CartPole-v1", {}, {}),
    ("Pendulum-v1", {"free_log_std": True}, {"env_to_module_connector": filtered}),
    ("Pendulum-v1", {"vf_share_layers": True}, {}),
    ("Pendulum-v1", {}, {"env_to_module_connector": clipped}),
    (Images, IMAGES, {"env_to_module_connector": filtered}),
    (ContinuousImages, IMAGES, {}),
]


@pytest.mark.parametrize(("env", "model", "runners"), KINDS)
def test_policies_played_together_are_those_played_alone(packed_ppo, env, model, runners):
    policies, make = policies_of(packed_ppo, env, model, runners)
    found = evaluate_together(policies, make, SEEDS)
    evaluator = Evaluator(make)
    for policy, together in zip(policies, found, strict=True):
        alone = evaluator.run(policy, SEEDS)
        assert (together.seeds, together.lengths) == (SEEDS, alone.lengths)
        np.testing.assert_allclose(together.returns, alone.returns, rtol=1e-3)
    assert len({f.returns for f in found}) > 1


@pytest.mark.parametrize(("env", "model", "runners"), KINDS)
def test_an_episode_is_the_same_bit_by_bit_whatever_is_beside_it(packed_ppo, env, model, runners):
    policies, make = policies_of(packed_ppo, env, model, runners)
    together = evaluate_together(policies, make, SEEDS)
    assert evaluate_together(policies[1:2], make, SEEDS) == together[1:2]
    (other,) = evaluate_together([policies[2]], make, SEEDS[3:])
    assert other.returns == together[2].returns[3:]
    assert evaluate_together(policies[::-1], make, SEEDS) == together[::-1]


def test_policies_of_other_kinds_and_sizes_are_played_beside_the_stack(packed_ppo):
    small, make = policies_of(packed_ppo, "CartPole-v1", {"fcnet_hiddens": [8]}, members=2)
    large, _ = policies_of(packed_ppo, "CartPole-v1", {"fcnet_hiddens": [12]}, members=2)
    drawing = RandomPolicy(make().action_space)
    mixed = [small[0], drawing, large[0], small[1], ConstantPolicy(1), large[1]]
    players = np.repeat(np.arange(6), len(SEEDS))
    kinds = [type(part.policy) for part in Together(mixed, players)._parts]
    assert sorted(kind.__name__ for kind in kinds) == [
        "ConstantPolicy", "RandomPolicy", "StackedPolicy", "StackedPolicy",
    ]  # fmt: skip
    # Native, and with fewer environments than episodes.
    for maker in (make, lambda: gym.Wrapper(make())):
        found = evaluate_together(mixed, maker, SEEDS)
        evaluator = Evaluator(maker)
        assert found == [evaluator.run(policy, SEEDS) for policy in mixed]
        assert len({f.returns for f in found}) > 3


def test_other_activations_and_drawing_policies_are_not_stacked(packed_ppo):
    tanh, make = policies_of(packed_ppo, "CartPole-v1", {"fcnet_activation": "tanh"}, members=1)
    relu, _ = policies_of(packed_ppo, "CartPole-v1", {"fcnet_activation": "relu"}, members=1)
    pack = started(packed_ppo(lambda config: make()), members=1)
    drawing = pack.policy(0).policy(stochastic=True)
    parts = Together([*tanh, *relu, drawing], np.repeat(np.arange(3), 2))._parts
    assert [list(part.episodes) for part in parts] == [[4, 5], [0, 1], [2, 3]]
    assert [isinstance(p.policy, StackedPolicy) for p in parts] == [False, True, True]
    assert evaluate_together([*tanh, drawing], make, SEEDS)[1] == Evaluator(make).run(
        drawing, SEEDS
    )
