"""RLlib's own examples, pruned while they train: right, as seen from outside.

Their checkpoints, what is refused, and searches: test_rllib_examples_pruned.py, test_rllib_refusals.py,
and test_rllib_examples_searched.py beside search's tests.
"""

import math

import pytest
import torch
from example_scripts import BATCH, STEPS, Example
from examples_checked import EVERYTHING, check, pruning
from pruning_oracle import check_runner, count, learner_module
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_ext import with_pruning
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.store import load_policy, save_policy
from rllib_ext.rl.callback import masks_of

pytestmark = pytest.mark.ray

ITERATIONS = 3


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
@pytest.mark.parametrize("example", EVERYTHING, ids=str)
def test_an_example_is_pruned_while_it_trains(example, granularity, unpruned, tmp_path):
    paths = unpruned(example).paths
    schedule = {"schedule": "linear", "begin": 0.3, "end": 0.9, "horizon": ITERATIONS * BATCH}
    config = with_pruning(example.build(tmp_path), pruning(example, granularity, **schedule))
    algorithm = config.build_algo()
    try:
        for _ in range(ITERATIONS):
            report = algorithm.train()["pruning"]
        check(algorithm, paths, report, example, granularity)
        algorithm.save_to_path(tmp_path / "saved")
        before = {n: p.detach().clone() for n, p in learner_module(algorithm).named_parameters()}
    finally:
        algorithm.stop()
    restored = Algorithm.from_checkpoint(str(tmp_path / "saved"))
    try:
        after = dict(learner_module(restored).named_parameters())
        assert all(torch.equal(after[name].detach(), value) for name, value in before.items())
        check_runner(restored, paths)
        module = evaluate(restored, tmp_path / "policy", example)
        assert count(paths.weights(module, paths.policy)) == count(
            paths.weights(learner_module(restored), paths.policy)
        )
        check(restored, paths, restored.train()["pruning"], example, granularity)
    finally:
        restored.stop()


def evaluate(algorithm: Algorithm, folder, example: Example) -> torch.nn.Module:
    """Plays the policy from disk in fresh episodes; returns its module."""
    save_policy(algorithm, masks_of(algorithm), folder, {})
    policy = load_policy(folder)
    make = env_maker(algorithm.config)
    together, alone = Evaluator(legal(make), STEPS), Evaluator(legal(make), STEPS)
    try:
        found = together.run(policy, (3, 4, 5))
        assert all(math.isfinite(value) for value in found.returns)
        if example.repeats:
            one_by_one = [alone.run(policy, (seed,)).returns[0] for seed in found.seeds]
            assert one_by_one == pytest.approx(found.returns)
    finally:
        together.close()
        alone.close()
    return policy.module


def legal(make):
    """Environments that take only actions of their space."""

    def build():
        env = make()
        step = env.step

        def checked(action):
            assert env.action_space.contains(action), f"{action!r} is no {env.action_space}"
            return step(action)

        env.step = checked
        return env

    return build
