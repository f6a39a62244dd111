"""Members that begin narrow or sparse, packed with others: held against plain small networks."""

import copy

import pytest
import torch
from packs import IMAGES, Images

from rllib_ext import PruningConfig
from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.state import MemberState

HORIZON = 1280
DENSE = PruningConfig(final_sparsity=0.0, horizon=HORIZON)
MODEL = {"fcnet_hiddens": [24, 24], "fcnet_activation": "tanh", "vf_share_layers": True}
TRAINING = {"grad_clip": 0.5, "lr": 3e-3, "num_epochs": 2}


def starting(start, density, **changes):
    return PruningConfig(
        **{"final_sparsity": 0.0, "horizon": HORIZON, **changes},
        start=start, start_density=density,
    )  # fmt: skip


def cut_out(module, masks):
    """The weights of a narrow network without the units that it lacks, by name."""
    found = {}
    for name, value in module.state_dict().items():
        layer, _, own = name.rpartition(".")
        mask = masks.get(f"{layer}.weight")
        if mask is not None:
            value = value[mask.any(1)]
            value = value[:, mask.any(0)] if own == "weight" else value
        # What is no layer's, such as a constant, is as it is.
        found[name] = value
    return found


@pytest.mark.parametrize("changes", [{}, {"granularity": "neuron"}])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_narrow_member_computes_and_learns_as_a_plain_small_network(packed_ppo, env, changes):
    wide = Pack(packed_ppo(env, MODEL), 3, dtype=torch.float64)
    narrow = starting("narrow", 0.1, **changes)
    # Beside a dense one and a sparse one.
    for place, pruning in enumerate((DENSE, narrow, starting("sparse", 0.2))):
        wide.start(place, training=TRAINING, pruning=pruning, seed=40 + place)
    masks = copy.deepcopy(wide.pruning.pruner(1).masks)
    weights = cut_out(wide.network.modules[1], masks)
    widths = [int(masks[n].any(1).sum()) for n in masks if ".mlp." in n and n.startswith("encoder")]
    assert all(1 < width < 12 for width in widths)

    alone = Pack(packed_ppo(env, {**MODEL, "fcnet_hiddens": widths}), 1, dtype=torch.float64)
    initial = Initial({name: value.numpy() for name, value in weights.items()}, {})
    alone.start(0, training=TRAINING, pruning=DENSE, seed=41, initial=initial)
    for _ in range(8):
        together, expected = wide.train()[1], alone.train()[0]
        found = cut_out(wide.network.modules[1], masks)
        for name, value in alone.network.modules[0].state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10)
        assert together["learners"] == pytest.approx(expected["learners"], rel=1e-7, abs=1e-9)
        assert together["env_runners"] == pytest.approx(expected["env_runners"], nan_ok=True)
    assert together["pruning"]["nonzero_params"] == expected["pruning"]["nonzero_params"]
    assert not torch.equal(found["pi.net.mlp.0.weight"], weights["pi.net.mlp.0.weight"])


@pytest.mark.parametrize("start", ["narrow", "sparse"])
@pytest.mark.parametrize(("env", "model"), [("CartPole-v1", MODEL), (Images, IMAGES)])
def test_masked_weights_are_zero_from_the_first_step_on(packed_ppo, start, env, model):
    pack = Pack(packed_ppo(env, model), 2)
    for place in range(2):
        pack.start(place, training={}, pruning=starting(start, 0.3, final_sparsity=0.9), seed=place)
    pruners = [pack.pruning.pruner(place) for place in range(2)]
    first = [copy.deepcopy(pruner.masks) for pruner in pruners]
    for _ in range(20):
        for place, pruner in enumerate(pruners):
            for name, mask in pruner.masks.items():
                weights = pack.network.part(pack.network.weights[place], name)
                assert not bool(weights[~mask].any())
                assert not bool((mask & ~first[place][name]).any())
        results = pack.train()
    assert all(r["pruning"]["sparsity"] == pytest.approx(0.9, abs=2e-3) for r in results.values())
    assert any(not torch.equal(first[0][name], mask) for name, mask in first[1].items())


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_a_clone_has_its_donor_s_masks_and_not_a_start_of_its_own(packed_ppo, start, tmp_path):
    pack = Pack(packed_ppo(model=MODEL), 2)
    pruning = starting(start, 0.2, final_sparsity=0.9, begin=0.5)
    for place in range(2):
        pack.start(place, training={}, pruning=pruning, seed=place)
    for _ in range(2):
        pack.train()
    pack.state(0).save(tmp_path)
    donor = copy.deepcopy(pack.pruning.pruner(0).masks)
    # Another target, and a seed of its own.
    other = starting(start, 0.2, final_sparsity=0.95, begin=0.5)
    pack.start(1, training={}, pruning=other, seed=9, state=MemberState.load(tmp_path))
    assert torch.equal(pack.network.weights[0], pack.network.weights[1])
    for _ in range(2):
        pack.train()
    clone = pack.pruning.pruner(1)
    assert all(torch.equal(mask, clone.masks[name]) for name, mask in donor.items())
    for _ in range(16):
        last = pack.train()
    assert last[1]["pruning"]["sparsity"] == pytest.approx(0.95, abs=2e-3)


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_a_plateau_rolls_back_to_what_it_started_with(packed_ppo, start):
    pack = Pack(packed_ppo(model=MODEL), 1)
    pruning = starting(
        start, 0.3, final_sparsity=0.95, schedule="plateau", begin=0.0, end=1.0, step=0.2,
        patience=1, random_return=0.0,
    )  # fmt: skip
    pack.start(0, training={}, pruning=pruning, seed=0)
    pruner = pack.pruning.pruner(0)
    first = copy.deepcopy(pruner.masks)
    good = True
    for _ in range(20):
        pack.train()
        good = good and not pruner.events["pruned"]
        pack.observe(0, 100.0 if good else 1.0)
    assert pruner.events["rolled_back"] >= 1
    assert all(bool((first[name] | ~mask).all()) for name, mask in pruner.masks.items())
