"""Every form of every kind of policy does in its environment what the policy does in RLlib."""

import numpy as np
import pytest
from export_policies import POLICIES, trained

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export import export_policy, load
from rllib_ext.export.exporting import Options
from rllib_ext.export.forms import FORMATS
from rllib_ext.export.opened import open_saved

pytestmark = pytest.mark.ray

SEEDS = range(70, 90)
# These show most; all others are tests of minutes.
OFTEN = ("lstm", "normalised frames", "nested actions", "dict, filter", "cnn, frames")
KINDS = [
    pytest.param(
        (name, pruned),
        id=f"{name}-{'pruned' if pruned else 'dense'}",
        marks=[] if pruned and name in OFTEN else [pytest.mark.slow],
    )
    for name in POLICIES
    for pruned in (False, True)
]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, ray_cluster, tmp_path_factory):
    """A policy as RLlib has it, its environment, and where its exports lie."""
    name, pruned = request.param
    folder = tmp_path_factory.mktemp("policies") / "policy"
    config = trained(name, folder, pruned=pruned)
    parts, masks, _ = open_saved(folder)
    output = folder.parent / "export"
    options = Options(episodes=len(SEEDS), seed=SEEDS[0], measure=False)
    contracts = export_policy(parts, masks, config, output, options)
    return parts, config, output, contracts


def play(policy, config, seeds):
    """Returns of episodes that are played one by one, as whoever takes an export plays them."""
    env = env_maker(config)()
    returns = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        policy.reset()
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def test_returns_are_equal_on_the_same_seeds(exported):
    parts, config, output, _ = exported
    evaluator = Evaluator(env_maker(config))
    expected = evaluator.run(parts.policy(), SEEDS).returns
    evaluator.close()
    for kind in FORMATS:
        np.testing.assert_allclose(
            play(load(output / kind), config, SEEDS), expected, rtol=1e-4, err_msg=kind
        )


def test_it_says_what_was_verified(exported):
    *_, contracts = exported
    for contract in contracts.values():
        verified = contract["verified"]
        assert verified["observations"] >= 1000
        assert verified["largest_relative_difference"] <= 1e-5
        assert verified["other_discrete_actions"] == 0
        assert verified["closed_loop"]["episodes"] == len(SEEDS)
