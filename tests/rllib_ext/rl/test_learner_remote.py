"""Learners and EnvRunners in processes of their own: one Learner, then two that train together."""

import os
import sys

import pytest
from ray import cloudpickle
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

from rllib_ext import PruningConfig, with_pruning

# Other processes cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.ray

CRITIC = ("vf.", "encoder.critic_encoder.")
ACTOR_WEIGHTS = 4 * 16 + 16 * 16 + 16 * 2
CRITIC_WEIGHTS = 4 * 16 + 16 * 16 + 16
ITERATION = 256
HORIZON = 3 * ITERATION


class UsersLearner(PPOTorchLearner):
    """Pruning is composed into it; the class then travels to the Learners' processes."""

    losses = 0

    def compute_loss_for_module(self, **kwargs):
        self.losses += 1
        return super().compute_loss_for_module(**kwargs)


def disagree(learner):
    """Ranks that each computed their own masks would now all draw others."""
    assert learner.pruner._next.seed != os.getpid()
    learner.pruner._next.seed = os.getpid()


def look(learner):
    pruner = learner.pruner
    weights = {n: w.detach().numpy().copy() for n, w in pruner.all_weights.items()}
    return os.getpid(), weights, {n: m.numpy().copy() for n, m in pruner.masks.items()}


def look_at_runner(runner):
    return {n: p.detach().numpy().copy() for n, p in runner.module.named_parameters()}


def foreach_learner(algorithm, function):
    return [result.get() for result in algorithm.learner_group.foreach_learner(function)]


def zeros(weights, *, critic):
    return sum(int((w == 0.0).sum()) for n, w in weights.items() if n.startswith(CRITIC) == critic)


def train_and_check(algorithm, learners, runners):
    result = algorithm.train()
    clock = int(result["num_env_steps_sampled_lifetime"])
    rise = 1.0 - (1.0 - min(1.0, clock / HORIZON)) ** 3
    seen = foreach_learner(algorithm, look)
    assert len({pid for pid, _, _ in seen} | {os.getpid()}) == learners + 1
    runner_weights = algorithm.env_runner_group.foreach_env_runner(look_at_runner)
    assert len(runner_weights) == 1 + runners
    _, first_weights, first_masks = seen[0]
    for _, weights, masks in seen:
        for name, mask in masks.items():
            assert (mask == first_masks[name]).all()
            assert (weights[name] == first_weights[name]).all()
            assert (weights[name][~mask] == 0.0).all()
        assert zeros(weights, critic=False) == round(0.9 * rise * ACTOR_WEIGHTS)
        assert zeros(weights, critic=True) == round(0.5 * rise * CRITIC_WEIGHTS)
    for on_runner in runner_weights:
        shared = set(on_runner) & set(first_weights)
        assert len(shared) >= 3
        for name in shared:
            assert (on_runner[name] == first_weights[name]).all()
    assert result["pruning"]["zeros"] == zeros(first_weights, critic=False)


@pytest.mark.parametrize(("learners", "runners"), [(1, 1), (2, 0)])
def test_all_learners_and_runners_hold_the_same_masks(small_ppo, tmp_path, learners, runners):
    batch = ITERATION // learners
    ppo = small_ppo(train_batch_size_per_learner=batch, minibatch_size=batch // 2)
    ppo.learners(num_learners=learners, num_cpus_per_learner=0.5, learner_class=UsersLearner)
    ppo.env_runners(num_env_runners=runners, num_cpus_per_env_runner=0.5)
    pruning = PruningConfig(
        final_sparsity=0.9,
        critic_final_sparsity=0.5,
        begin=0.0,
        end=1.0,
        criterion="random",
        horizon=HORIZON,
    )
    config = with_pruning(ppo, pruning)
    algorithm = config.build_algo()
    foreach_learner(algorithm, disagree)
    train_and_check(algorithm, learners, runners)
    train_and_check(algorithm, learners, runners)
    assert all(losses > 0 for losses in foreach_learner(algorithm, lambda lrn: lrn.losses))
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()

    restored = config.copy(copy_frozen=False).build_algo()
    restored.restore_from_path(tmp_path / "state")
    foreach_learner(restored, disagree)
    train_and_check(restored, learners, runners)
    restored.stop()
