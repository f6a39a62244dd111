"""Structure on RLlib's own example modules: pruned by units, shrunk, measured; the critic apart."""

import pytest
import torch
from ray.rllib.core.columns import Columns
from rllib_modules import EXAMPLES, build_example

from rllib_ext.policy.size import measured_size
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.probing import example_batch, probe_of
from rllib_ext.rl.module.shrinking import policy_size, shrink_policy

# These say themselves how large their initial state is.
WITH_STATE = [name for name in EXAMPLES if name.startswith("lstm")]
SHRINKING = [name for name in EXAMPLES if name not in WITH_STATE]


def pruned(name: str, **changes):
    module = build_example(name)
    config = PruningConfig(
        **{"final_sparsity": 0.6, "granularity": "neuron", "schedule": "constant", **changes},
        horizon=1,
    )
    pruner = Pruner(
        module,
        list,
        config,
        critic_prefixes=critic_names(module),
        graph=lambda: trace(module, probe_of(module)),
    )
    pruner.before_update(1)
    return module, pruner


def logits(module, batch):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]


def batch_of(module):
    return example_batch(module, torch.Generator().manual_seed(9), batch=16, steps=9)


@pytest.mark.parametrize("name", SHRINKING)
def test_an_example_pruned_by_units_shrinks_and_acts_alike_without_its_critic(name):
    module, pruner = pruned(name)
    structure = pruner.structure
    assert structure.removed(pruner.masks).any()
    critic = {n: m for n, m in pruner.masks.items() if n in pruner.weights.critic}
    policy = {n: m for n, m in pruner.masks.items() if n in pruner.weights.policy}
    total = sum(m.numel() for m in policy.values())
    gone = total - sum(int(m.sum()) for m in policy.values())
    assert 0.4 * total < gone <= 0.6 * total
    # The critic loses no more than the columns of units that it shared with the policy.
    assert all(bool(m.any(0).any()) and bool(m.any(1).all()) for m in critic.values())
    small = shrink_policy(module, pruner.masks)
    torch.testing.assert_close(
        logits(small.module, batch_of(module)), logits(module, batch_of(module))
    )
    assert not any(n.startswith(tuple(critic_names(module))) for n in small.module.state_dict())
    size = policy_size(module, pruner.masks)
    assert size["shrunk_params"] == small.after.parameters
    assert size["shrunk_params"] < size["dense_params"]
    assert size["macs"] < size["dense_macs"]
    dense = [p.numel() for n, p in module.named_parameters() if n not in critic]
    critic_biases = [
        p.numel()
        for n, p in module.named_parameters()
        if n.startswith(tuple(critic_names(module))) and n not in critic
    ]
    assert size["dense_params"] == sum(dense) - sum(critic_biases)


@pytest.mark.parametrize("name", WITH_STATE)
def test_an_example_that_says_how_large_its_state_is_keeps_its_size(name):
    module, pruner = pruned(name)
    assert pruner.structure.removed(pruner.masks).any()
    with pytest.raises(ShrinkError, match=r"initial state: adapt it .*or keep the masked module"):
        shrink_policy(module, pruner.masks)
    assert measured_size(("units", "params"), module, pruner.masks) == {
        "units": 0.0,
        "params": 4 * 12 * (5 + 12 + 2) + 12 * 10 + 10 + 10 * 4 + 4,
    }


@pytest.mark.parametrize("name", SHRINKING)
def test_an_example_pruned_by_weights_is_measured(name):
    level = 0.9999 if name == "tiny cnn" else 0.98
    module, pruner = pruned(name, granularity="weight", final_sparsity=level)
    sizes = measured_size(("units", "params", "macs"), module, pruner.masks)
    assert sizes["units"] > 0
    dense = measured_size(("params", "macs"), build_example(name), {})
    assert sizes["params"] < dense["params"]
    assert sizes["macs"] < dense["macs"]


@pytest.mark.parametrize("name", ["autoregressive", "action masking", "lstm"])
def test_following_an_examples_units_moves_no_generator_and_changes_no_batch(name):
    module = build_example(name)
    before = torch.random.get_rng_state()
    graph = trace(module, probe_of(module))
    again = trace(module, probe_of(module))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {n: list(r) for n, r in graph.reach.items()} == {
        n: list(r) for n, r in again.reach.items()
    }
    for sink, by_source in graph.reach.items():
        for source, codes in by_source.items():
            assert torch.equal(codes, again.reach[sink][source])
