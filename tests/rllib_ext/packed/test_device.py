"""Packs whose weights lie elsewhere than on the CPU.

The meta device stands for a GPU: what lies there has a shape but no values. Whatever is computed from
both places at once is an error there as here; who reads values gets zeros, and True of `all`.
"""

import functools
import json

import pytest
import torch
from own_policies import AsDefault
from packs import IMAGES, Images
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rllib_ext import PruningConfig
from rllib_ext.member.segment import MEMBERS, Segment, config_of
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed import trainable as tune
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.update import clip_, update
from rllib_ext.pruning.errors import ConfigError

aten = torch.ops.aten
# Ways between devices; CUDA takes positions from the CPU too.
WAYS = {aten._to_copy.default, aten.copy_.default}
ALL = {aten.all.default, aten.all.dim}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}


class OnOneDevice(TorchDispatchMode):
    """Refuses whatever computes with tensors of two devices; values of the meta device are zeros.

    It counts what a GPU would be waited for: values that are read off the device, and tensors that are
    sent there. (Lists of numbers that torch itself sends there aren't seen.)
    """

    def __init__(self):
        super().__init__()
        self.computed = 0
        self.waited = 0
        # By id, kept so that no other tensor gets one of them.
        self._all = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.waited += waits(func, args, kwargs)
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            return torch.full((), id(args[0]) in self._all, dtype=args[0].dtype).item()
        if func is aten.equal.default and args[0].is_meta and args[1].is_meta:
            return False
        if func is aten._to_copy.default and args[0].is_meta:
            device = torch.device(kwargs.get("device") or "meta")
            if device.type == "cpu":
                every = float(id(args[0]) in self._all)
                return torch.full(args[0].shape, every, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is aten.copy_.default and args[1].is_meta and not args[0].is_meta:
            return args[0].zero_()
        if func not in WAYS:
            given = args[:1] if func in INDEXED else (args, kwargs)
            tensors = [x for x in tree_leaves(given) if isinstance(x, torch.Tensor)]
            devices = {x.device.type for x in tensors if x.dim()}
            assert len(devices) < 2, f"{func} of tensors on {devices}"
            self.computed += "meta" in devices
        found = func(*args, **kwargs)
        if func in ALL and found.is_meta:
            self._all[id(found)] = found
        return found


def waits(func, args, kwargs):
    """Whether something goes from one device to the other."""
    if func in (aten._local_scalar_dense.default, aten.equal.default):
        return args[0].is_meta
    if func is aten._to_copy.default:
        there = torch.device(kwargs.get("device") or args[0].device)
        return (there.type == "meta") != args[0].is_meta
    if func is aten.copy_.default:
        return args[0].is_meta != args[1].is_meta
    if func in INDEXED and args[0].is_meta:
        return any(index is not None and not index.is_meta for index in args[1])
    return False


def test_whatever_is_waited_for_is_counted():
    there = torch.ones(3, 2, device="meta")
    here = torch.ones(3, 2)
    waiting = (
        lambda: there.sum().item(),
        lambda: bool((there > 0).any()),
        lambda: there.tolist(),
        lambda: there.cpu(),
        lambda: here.to(there),
        lambda: there.copy_(here),
        lambda: here.copy_(there),
        lambda: there[torch.tensor([0, 2])],
    )
    for way in waiting:
        with OnOneDevice() as mode:
            way()
        assert mode.waited > 0
    rows = torch.zeros(2, dtype=torch.int64, device="meta")
    with OnOneDevice() as mode:
        there[rows] = there[rows] * 2.0 + there[1:]
        torch.where(there > 0, there, 0.0).clamp_(max=1.0).nan_to_num_()
        there[:, :1] += torch.linalg.vector_norm(there, dim=1, keepdim=True)
    assert mode.waited == 0
    # How many are picked by a mask has to be read, too; there is nothing to read it from.
    with OnOneDevice(), pytest.raises(NotImplementedError, match="nonzero"):
        there[there > 0]


def test_two_devices_are_noticed():
    here, there = torch.ones(3), torch.ones(3, device="meta")
    with OnOneDevice() as mode:
        assert there.cpu().tolist() == [0.0] * 3
        assert not bool((there + there).any())
        for mixed in (lambda: here * there, lambda: torch.cat([here, there])):
            with pytest.raises((AssertionError, RuntimeError)):
                mixed()
    assert mode.computed


@pytest.mark.parametrize(
    ("env", "model", "own"),
    [
        ("CartPole-v1", {}, None),
        ("Pendulum-v1", {"free_log_std": True}, None),
        (Images, IMAGES, None),
        ("CartPole-v1", {}, AsDefault),
    ],
)
def test_a_pack_computes_on_its_device_only(packed_ppo, env, model, own):
    ppo = packed_ppo(env, model, grad_clip=0.5, train_batch_size_per_learner=32, minibatch_size=16)
    if own is not None:
        ppo.rl_module(rl_module_spec=RLModuleSpec(module_class=own))
    kinds = ("magnitude", "gradient", "movement", "activation", "random")
    with OnOneDevice() as mode:
        pack = Pack(ppo, len(kinds), device="meta")
        for i, criterion in enumerate(kinds):
            pruning = PruningConfig(
                horizon=2 * 32, criterion=criterion, final_sparsity=0.5, begin=0.0, end=0.5
            )
            training = {"num_epochs": 1 + i % 2}
            pack.start(i, training=training, pruning=pruning, seed=i)
        for _ in range(2):
            results = pack.train()
            assert not any(result["failure"] for result in results.values())
        pack.evaluate({0: (1, 2), 3: (4,)})
        state = pack.state(0)
        pack.start(1, training={}, pruning=pruning, seed=9, state=state)
        policy = pack.policy(2)
        pack.close()
    for stacked in (pack.network.weights, pack.adam.first, pack.adam.second, pack.adam.steps):
        assert stacked.is_meta
    assert mode.computed > 1_000
    # Whatever leaves the pack is on the CPU.
    assert not any(value.is_meta for value in state.weights.values())
    assert not any(p.is_meta for p in policy.module.parameters())


def waits_of_an_update(ppo, members, epochs, criterion, monkeypatch):
    """How often an update of members that differ in nothing waits for the device."""
    found = []
    with OnOneDevice() as mode:

        def counting(*given):
            before = mode.waited
            result = update(*given)
            found.append(mode.waited - before)
            return result

        monkeypatch.setattr("rllib_ext.packed.pack.update", counting)
        pack = Pack(ppo, members, device="meta")
        pruning = PruningConfig(
            horizon=1000, criterion=criterion, final_sparsity=0.5, begin=0.0, end=0.5
        )
        for i in range(members):
            pack.start(i, training={"num_epochs": epochs}, pruning=pruning, seed=i)
        for _ in range(2):
            pack.train()
        pack.close()
    return found[-1]


@pytest.mark.parametrize("criterion", ["gradient", "activation"])
def test_an_update_waits_for_the_device_as_often_for_many_members_and_minibatches_as_for_few(
    packed_ppo, criterion, monkeypatch
):
    # No episode of Pendulum ends within two batches: all members have as many minibatches.
    ppo = packed_ppo(
        "Pendulum-v1", grad_clip=0.5, train_batch_size_per_learner=32, minibatch_size=16
    )
    few = waits_of_an_update(ppo, 2, 2, criterion, monkeypatch)
    assert waits_of_an_update(ppo, 4, 2, criterion, monkeypatch) == few
    assert waits_of_an_update(ppo, 2, 4, criterion, monkeypatch) == few


def test_a_guard_that_asks_in_each_minibatch_is_noticed(packed_ppo, monkeypatch):
    ppo = packed_ppo("Pendulum-v1", train_batch_size_per_learner=32, minibatch_size=16)
    few = waits_of_an_update(ppo, 2, 2, "magnitude", monkeypatch)

    def asking(gradients, largest, network):
        if bool(torch.isfinite(gradients).all()):
            clip_(gradients, largest, network)

    monkeypatch.setattr("rllib_ext.packed.update.clip_", asking)
    # Four minibatches and the bootstrap rows' one.
    assert waits_of_an_update(ppo, 2, 2, "magnitude", monkeypatch) == few + 5


def test_what_is_measured_of_a_policy_is_computed_where_the_policy_is(
    packed_ppo, tmp_path, monkeypatch
):
    ppo = packed_ppo(train_batch_size_per_learner=32, minibatch_size=16)
    settings = MemberSettings(
        folder=str(tmp_path), ppo_config=ppo, evaluation_interval=1, measured=("macs", "units")
    )
    pruning = PruningConfig(horizon=32, final_sparsity=0.5, begin=0.0, end=0.5)
    segment = Segment(
        member=0,
        segment=0,
        trial_number=0,
        seed=1,
        pruning=pruning.to_dict(),
        training={},
        until_env_steps=32,
        evaluation_seeds=(3,),
    )
    monkeypatch.setattr(tune, "Pack", functools.partial(Pack, device="meta"))
    trainable = tune.PackTrainable.__new__(tune.PackTrainable)
    with OnOneDevice():
        trainable.setup(config_of([segment]), settings)
        (result,) = json.loads(trainable.step()[MEMBERS])
        assert trainable._pack.network.weights.is_meta
        trainable.cleanup()
    assert result["snapshot"]["objectives"].keys() == {"macs", "units"}


def test_a_pack_that_was_given_a_gpu_uses_it_or_says_that_there_is_none(packed_ppo, monkeypatch):
    ppo = packed_ppo().learners(num_gpus_per_learner=0.5)
    assert blueprint_of(ppo).device == "cuda"
    assert blueprint_of(packed_ppo()).device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="gpus_per_member"):
        Pack(ppo, 1)
