"""Checkpoints of RLlib's own examples, pruned, and trained on with their masks held."""

import pytest
import torch
from examples_checked import EVERYTHING, check, pruning, zeros_of
from pruning_oracle import learner_module
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.examples.learners.classes.intrinsic_curiosity_learners import ICM_MODULE_ID
from ray.rllib.examples.learners.ppo_with_torch_lr_schedulers import LRChecker
from ray.rllib.utils import force_list

from rllib_ext.checkpoint.pruned import in_one_process, load_for_pruning, prune_now, report_of
from rllib_ext.checkpoint.reading import read_ppo_config
from rllib_ext.pruning.errors import CheckpointError

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
@pytest.mark.parametrize("example", [e for e in EVERYTHING if e.checkpoint], ids=str)
def test_an_examples_checkpoint_is_pruned(example, granularity, unpruned, tmp_path):
    found = unpruned(example)
    # Some configurations name an environment that the process has to know.
    example.build(tmp_path)
    ppo = in_one_process(read_ppo_config(found.checkpoint), seed=3)
    if LRChecker in force_list(ppo.callbacks_class):
        # RLlib's checkpoints hold no torch schedulers: after any restore its own callback objects.
        ppo.callbacks(RLlibCallback)
    algorithm = load_for_pruning(found.checkpoint, ppo, pruning(example, granularity))
    try:
        prune_now(algorithm)
        check(algorithm, found.paths, report_of(algorithm), example, granularity)
        held = zeros_of(learner_module(algorithm))
        check(algorithm, found.paths, algorithm.train()["pruning"], example, granularity)
        named = learner_module(algorithm).named_parameters()
        assert all(torch.equal(p.detach() == 0.0, held[n]) for n, p in named if p.dim() > 1)
    finally:
        algorithm.stop()


@pytest.mark.parametrize("example", [e for e in EVERYTHING if not e.checkpoint], ids=str)
def test_a_checkpoint_that_holds_more_than_a_policy_is_refused(example, unpruned):
    with pytest.raises(CheckpointError, match=rf"more modules.*{ICM_MODULE_ID}.*Train without"):
        read_ppo_config(unpruned(example).checkpoint)
