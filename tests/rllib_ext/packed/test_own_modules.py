"""Packs of policies that a user wrote: as those of RLlib's own networks, and as RLlib trains them."""

import numpy as np
import pytest
import torch
from own_policies import AsDefault, Normed, Parts, Places, own
from packs import started
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

from rllib_ext import PruningConfig, load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.state import MemberState
from rllib_ext.packed.vmapped import Vmapped
from rllib_ext.packed.written_out import WrittenOut

PRUNING = PruningConfig(horizon=10 * 64, final_sparsity=0.8, begin=0.0, end=0.6)
# Nothing in common but the batch.
MEMBERS = (
    ({"lr": 1e-2, "num_epochs": 3, "grad_clip": 0.5}, {"criterion": "activation"}),
    ({"lr": 3e-3, "use_kl_loss": False, "num_epochs": 1}, {"criterion": "movement"}),
    ({"lr": 1e-3, "entropy_coeff": 0.02, "num_epochs": 2}, {"criterion": "gradient"}),
)


def start(pack, place, member, seed, **rest):
    training, pruning = member
    pack.start(place, training=training, pruning=PRUNING.replace(**pruning), seed=seed, **rest)


@pytest.fixture
def normed(packed_ppo):
    return packed_ppo().rl_module(**own(Normed))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_both_kinds_of_stack_train_members_alike(packed_ppo, activation, dtype, tolerance):
    model = {"fcnet_hiddens": [16, 16], "fcnet_activation": activation}
    written = packed_ppo(model=model)
    vmapped = packed_ppo(model=model).rl_module(**own(AsDefault, **model))
    packs = [Pack(ppo, len(MEMBERS), dtype=dtype) for ppo in (written, vmapped)]
    assert [type(p.network.computation) for p in packs] == [WrittenOut, Vmapped]
    for pack in packs:
        for i, member in enumerate(MEMBERS):
            start(pack, i, member, seed=i)
    assert torch.equal(packs[0].network.weights, packs[1].network.weights)
    first = packs[0].network.weights.clone()
    for _ in range(2):
        found, expected = (pack.train() for pack in packs)
    weights = [pack.network.weights for pack in packs]
    assert float((weights[0] - weights[1]).abs().max()) <= tolerance
    assert float((weights[0] - first).abs().max()) > 1e-2
    for i in range(len(MEMBERS)):
        masks = [pack.pruning.pruner(i).masks for pack in packs]
        assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
        assert found[i]["learners"] == pytest.approx(expected[i]["learners"], rel=1e-3, abs=1e-5)


def test_members_packed_are_members_alone(normed):
    together = Pack(normed, len(MEMBERS), dtype=torch.float64)
    for i, member in enumerate(MEMBERS):
        start(together, i, member, seed=i)
    last = [together.train() for _ in range(8)][-1]
    for i, member in enumerate(MEMBERS):
        alone = Pack(normed, 1, dtype=torch.float64)
        start(alone, 0, member, seed=i)
        expected = [alone.train() for _ in range(8)][-1][0]
        difference = (together.network.weights[i] - alone.network.weights[0]).abs().max()
        assert float(difference) <= 1e-10
        assert last[i]["pruning"]["sparsity"] == expected["pruning"]["sparsity"]
        assert last[i]["pruning"]["sparsity"] == pytest.approx(0.8, abs=5e-3)


def test_pruned_weights_stay_zero_and_the_rest_learns(normed):
    pack = started(normed, pruning=PRUNING)
    norms = [name for name in pack.network.slots if name.endswith("body.1.weight")]
    before = pack.network.weights.clone()
    for _ in range(10):
        pack.train()
        for i in range(2):
            for name, mask in pack.pruning.pruner(i).masks.items():
                assert not bool(pack.network.part(pack.network.weights[i], name)[~mask].any())
    (name,) = norms
    assert name not in pack.pruning.pruner(0).masks
    for name in pack.network.slots:
        parts = [pack.network.part(weights[0], name) for weights in (before, pack.network.weights)]
        assert not torch.equal(*parts), name


def test_a_clone_and_what_is_read_from_disk_go_on_as_the_donor_would(normed, tmp_path):
    pack = Pack(normed, 2)
    for i in range(2):
        start(pack, i, MEMBERS[0], seed=i)
    for _ in range(3):
        pack.train()
    pack.state(0).save(tmp_path)
    start(pack, 1, MEMBERS[0], seed=9, state=pack.state(0))
    assert torch.equal(pack.network.weights[0], pack.network.weights[1])
    assert torch.equal(pack.adam.second[0], pack.adam.second[1])
    other = Pack(normed, 1)
    start(other, 0, MEMBERS[0], seed=9, state=MemberState.load(tmp_path))
    for _ in range(3):
        found, expected = pack.train()[1], other.train()[0]
        assert found["env_steps"] == expected["env_steps"]
        torch.testing.assert_close(pack.network.weights[1], other.network.weights[0])


def nested(packed_ppo):
    return packed_ppo(Places).rl_module(**own(Parts))


def flattened(packed_ppo):
    def connectors(env, spaces, device):
        return [FlattenObservations(), MeanStdFilter()]

    return packed_ppo(Places, runners={"env_to_module_connector": connectors})


@pytest.mark.parametrize("build", [nested, flattened])
def test_nested_observations_are_seen_as_the_saved_policy_sees_them(packed_ppo, tmp_path, build):
    ppo = build(packed_ppo)
    pack = started(ppo, iterations=4, pruning=PRUNING)
    pack.save_policy(1, tmp_path / "p", {})
    evaluator = Evaluator(env_maker(ppo))
    expected = evaluator.run(load_policy(tmp_path / "p"), range(8))
    evaluator.close()
    found = pack.evaluate({0: range(3), 1: range(8)})
    assert found[1] == expected
    assert len(set(expected.lengths)) > 1 or expected.lengths[0] < 20


def test_a_policy_of_nested_observations_learns(packed_ppo):
    ppo = packed_ppo(Places, lr=1e-2, train_batch_size_per_learner=256, minibatch_size=64)
    pack = started(ppo.rl_module(**own(Parts)), pruning=PRUNING.replace(horizon=14 * 256))
    for _ in range(14):
        pack.train()
    found = pack.evaluate({i: range(20) for i in range(2)})
    # At random, half of the walks end where they should.
    assert min(np.mean(episodes.returns) for episodes in found.values()) == 1.0
