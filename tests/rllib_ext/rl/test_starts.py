"""Narrow and sparse starts in real PPO runs of RLlib: masked before the first step is sampled."""

import os
import sys

import pytest
import torch
from ray import cloudpickle

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.callback import foreach_learner
from rllib_ext.rl.prunable import refuse_unprunable

# Other processes cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ITERATION = 256
WEIGHTS = 4 * 16 + 16 * 16 + 16 * 2


def starting(start, **changes):
    values = {"start_density": 0.3, "final_sparsity": 0.9, "horizon": 6 * ITERATION, "begin": 0.5}
    return PruningConfig(**{**values, **changes}, start=start)


def look(learner):
    pruner = learner.pruner
    weights = {n: w.detach().cpu().clone() for n, w in pruner.all_weights.items()}
    masks = {n: m.cpu().clone() for n, m in pruner.masks.items()}
    return os.getpid(), weights, masks, list(pruner.weights.policy)


def weights_on(runner):
    return {n: p.detach().cpu().clone() for n, p in runner.module.named_parameters()}


def kept(masks, names):
    return sum(int(masks[name].sum()) for name in names)


def assert_alike(algorithm):
    """All Learners and EnvRunners have the same weights, zero where masked; returns the masks."""
    (_, weights, masks, policy), *others = foreach_learner(algorithm, look)
    for _, other, own, _ in others:
        assert all(torch.equal(weights[n], other[n]) for n in weights)
        assert all(torch.equal(masks[n], own[n]) for n in masks)
    for runner in algorithm.env_runner_group.foreach_env_runner(weights_on):
        for name in policy:
            assert torch.equal(runner[name], weights[name])
            assert not bool(runner[name][~masks[name]].any())
    return masks, policy


@pytest.mark.ray
@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_it_begins_masked_goes_on_from_a_checkpoint_and_is_cloned_as_it_is(
    small_ppo, start, tmp_path
):
    algorithm = with_pruning(small_ppo(), starting(start)).build_algo()
    masks, policy = assert_alike(algorithm)
    first = kept(masks, policy)
    assert 0.3 * WEIGHTS - 1 <= first <= (0.3 * WEIGHTS + 1 if start == "sparse" else 0.4 * WEIGHTS)
    result = algorithm.train()
    assert result["pruning"]["nonzero_params"] == first
    unchanged, _ = assert_alike(algorithm)
    assert all(torch.equal(mask, unchanged[name]) for name, mask in masks.items())
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()

    # A clone has another seed, and would begin with other masks.
    other = small_ppo().debugging(seed=99)
    clone = with_pruning(other, starting(start, final_sparsity=0.95)).build_algo()
    drawn, _ = assert_alike(clone)
    assert any(not torch.equal(mask, drawn[name]) for name, mask in masks.items())
    clone.restore_from_path(tmp_path / "state")
    copied = foreach_learner(clone, look)[0][2]
    assert all(torch.equal(mask, copied[name]) for name, mask in masks.items())
    for _ in range(6):
        last = clone.train()
    assert last["pruning"]["nonzero_params"] == WEIGHTS - round(0.95 * WEIGHTS)
    assert_alike(clone)
    clone.stop()


@pytest.mark.ray
@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_learners_that_train_together_begin_with_the_same_network(small_ppo, start):
    ppo = small_ppo().learners(num_learners=2, num_cpus_per_learner=0.5)
    ppo.env_runners(num_env_runners=0).training(train_batch_size_per_learner=128)
    algorithm = with_pruning(ppo, starting(start)).build_algo()
    masks, policy = assert_alike(algorithm)
    assert 0 < kept(masks, policy) < 0.5 * WEIGHTS
    algorithm.train()
    assert_alike(algorithm)
    algorithm.stop()


def test_a_start_that_a_network_cannot_have_is_refused_before_anything_trains(small_ppo):
    for start in ("dense", "narrow", "sparse"):
        refuse_unprunable(small_ppo(), [starting("dense"), starting(start)])
    # All hidden units have a part in a layer that stays dense.
    fixed = {"exclude": ("encoder.*.2.*",)}
    with pytest.raises(ConfigError, match="no hidden unit that can be removed"):
        refuse_unprunable(small_ppo(), [starting("dense", **fixed), starting("narrow", **fixed)])


def test_weights_that_were_trained_elsewhere_are_no_fresh_network(small_ppo, tmp_path):
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    spec = RLModuleSpec(load_state_path=str(tmp_path))
    ppo = small_ppo().rl_module(rl_module_spec=spec)
    with_pruning(ppo, starting("dense"))
    with pytest.raises(ConfigError, match=r"start = 'narrow'.*load_state_path"):
        with_pruning(ppo, starting("narrow"))
