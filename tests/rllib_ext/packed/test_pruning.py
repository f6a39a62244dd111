"""Pruning in a pack against the unpacked code, fed with the same gradients.

The unpacked code: an RLlib module of its own, torch's Adam, RLlib's gradient clipping, and a Pruner in
the order in which the pruning Learner calls it.
"""

import copy

import gymnasium as gym
import pytest
import torch
from own_policies import Normed
from packs import IMAGES, Images
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.torch_utils import clip_gradients

from rllib_ext import PruningConfig, with_initial_weights
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.pruning import PackedPruning
from rllib_ext.packed.vmapped import Vmapped
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.rl.module.probing import probe_of

ITERATION = 64
ITERATIONS = 24
LAST = ITERATION * ITERATIONS
TRAINING = {"lr": 3e-3, "grad_clip": 0.5, "num_epochs": 2}
RAMP = {"final_sparsity": 0.8, "begin": 0.1, "end": 0.8, "schedule": "linear"}
SCHEDULES = {
    "magnitude": RAMP,
    "layerwise": {**RAMP, "scope": "layerwise", "critic_final_sparsity": 0.5},
    "gradient_erk": {**RAMP, "scope": "erk", "criterion": "gradient", "window": 3},
    "movement": {**RAMP, "criterion": "movement"},
    "activation": {**RAMP, "criterion": "activation"},
    "random": {**RAMP, "criterion": "random"},
    "lamp": {**RAMP, "criterion": "lamp"},
    "synflow": {**RAMP, "criterion": "synflow"},
    "threshold": {**RAMP, "threshold": 1.0, "threshold_unit": "std", "final_sparsity": None},
    "neuron": {**RAMP, "granularity": "neuron", "final_sparsity": 0.6},
    "channels": {**RAMP, "granularity": "neuron", "scope": "layerwise", "final_sparsity": 0.6},
    "neuron_taylor": {**RAMP, "granularity": "neuron", "criterion": "gradient"},
    "iterative": {
        "final_sparsity": 0.7,
        "schedule": "iterative",
        "rewind_to": 0.0,
        "begin": 0.1,
        "end": 0.7,
    },
    "restarted": {**RAMP, "schedule": "iterative", "lr_restart": 4.0, "lr_restart_span": 0.15},
    "set": {"final_sparsity": 0.6, "schedule": "constant", "regrow": "set"},
    "rigl": {"final_sparsity": 0.6, "schedule": "constant", "regrow": "rigl"},
    "plateau": {
        "final_sparsity": 0.8,
        "schedule": "plateau",
        "begin": 0.0,
        "end": 0.9,
        "step": 0.2,
        "patience": 1,
        "random_return": 0.0,
    },
}


def critic_of(module):
    return ["critic"] if isinstance(module, Normed) else module.get_non_inference_attributes()


class Shadow:
    """One member, unpacked."""

    def __init__(self, module, config, seed):
        self.module = copy.deepcopy(module)
        self.parameters = dict(self.module.named_parameters())
        self.adam = torch.optim.Adam(self.module.parameters(), lr=TRAINING["lr"])
        self.factors = set()
        self.pruner = Pruner(
            self.module,
            lambda: [self.adam],
            config,
            critic_prefixes=critic_of(self.module),
            seed=seed,
            graph=lambda: trace(self.module, probe_of(self.module)),
            probe=probe_of(self.module),
        )

    def learn(self, gradients, observations):
        batch = {Columns.OBS: observations}
        outputs = self.module._forward_train(batch)
        self.module.compute_values(batch, embeddings=outputs.get(Columns.EMBEDDINGS))
        by_parameter = {self.parameters[name]: g.clone() for name, g in gradients.items()}
        self.pruner.observe_gradients(by_parameter.items())
        self.pruner.mask_gradients_(by_parameter.items())
        clip_gradients(by_parameter, grad_clip=TRAINING["grad_clip"], grad_clip_by="global_norm")
        for parameter, gradient in by_parameter.items():
            parameter.grad = gradient
        self.factors.add(self.pruner.rate_factor)
        for group in self.adam.param_groups:
            group["lr"] = TRAINING["lr"] * self.pruner.rate_factor
        self.adam.step()
        self.pruner.enforce_()


class Shadowed(PackedPruning):
    """Leads the shadows through what the members go through."""

    def __init__(self, network, adam):
        super().__init__(network, adam)
        self.shadows = {}
        self.changed = []

    def start(self, member, config, seed, coefficients=None):
        self.shadows[member] = Shadow(self._network.modules[member], config, seed)
        super().start(member, config, seed, coefficients)

    def before_update(self, member, env_steps):
        expected = self.shadows[member].pruner.before_update(env_steps)
        found = super().before_update(member, env_steps)
        self.changed.append((found, expected))
        return found

    def after_update(self, member):
        self.shadows[member].pruner.after_update()
        super().after_update(member)

    def observer(self, members):
        packed = super().observer(members)

        def observe(gradients, batch):
            for row, member in enumerate(members):
                parts = {n: self._network.part(gradients[row], n) for n in self._network.slots}
                shape = self._network.modules[member].observation_space.shape
                self.shadows[member].learn(parts, batch.observations[row].view(-1, *shape))
            if packed is not None:
                packed(gradients, batch)

        return observe


def assert_equal(pack, member):
    shadow, pruner = pack.pruning.shadows[member], pack.pruning.pruner(member)
    for name, mask in shadow.pruner.masks.items():
        assert torch.equal(pruner.masks[name], mask), name
    for name, mask in shadow.pruner.enforced.items():
        weights = pack.network.part(pack.network.weights[member], name)
        assert not bool(weights[~mask].any())
    for name, parameter in shadow.parameters.items():
        rows = (pack.network.weights, pack.adam.first, pack.adam.second)
        state = shadow.adam.state.get(parameter, {})
        fresh = torch.zeros_like(parameter)
        expected = (parameter.detach(), state.get("exp_avg", fresh), state.get("exp_avg_sq", fresh))
        for row, value in zip(rows, expected, strict=True):
            found = pack.network.part(row[member], name)
            torch.testing.assert_close(found, value, rtol=0, atol=1e-10)
    assert pruner.events == shadow.pruner.events
    assert pruner.report()["sparsity"] == shadow.pruner.report()["sparsity"]


def shadowed(ppo, schedules, monkeypatch, iterations=ITERATIONS):
    monkeypatch.setattr("rllib_ext.packed.pack.PackedPruning", Shadowed)
    # Rounding must not decide which of two weights goes.
    pack = Pack(ppo, len(schedules), dtype=torch.float64)
    for i, name in enumerate(schedules):
        config = PruningConfig(horizon=ITERATION * iterations, **SCHEDULES[name])
        # With some seeds RigL finds two gradients that are equal but for rounding.
        pack.start(i, training=TRAINING, pruning=config, seed=100 + i)
    return pack


@pytest.mark.parametrize("own", [False, True])
def test_masks_weights_and_moments_are_those_of_the_unpacked_code(packed_ppo, monkeypatch, own):
    ppo = packed_ppo()
    if own:
        ppo.rl_module(rl_module_spec=RLModuleSpec(module_class=Normed))
    # No path can be followed through a normalisation.
    names = [name for name in SCHEDULES if not (own and name == "synflow")]
    pack = shadowed(ppo, names, monkeypatch)
    assert isinstance(pack.network.computation, Vmapped) is own
    # The return holds for a while, falls until the rule rolls back, and recovers.
    returns = [100.0] * 9 + [10.0] * 6 + [100.0] * (ITERATIONS - 15)
    plateau = names.index("plateau")
    for evaluated in returns:
        pack.observe(plateau, evaluated)
        pack.pruning.shadows[plateau].pruner.observe(evaluated)
        pack.train()
        for i in range(len(names)):
            assert_equal(pack, i)
    assert all(found == expected for found, expected in pack.pruning.changed)
    events = {name: pack.pruning.pruner(i).events for i, name in enumerate(names)}
    assert events["plateau"]["rolled_back"] >= 1
    assert events["iterative"]["rewound"] >= 2
    factors = {name: pack.pruning.shadows[i].factors for i, name in enumerate(names)}
    assert min(factors["restarted"]) == 1.0
    assert max(factors["restarted"]) == 4.0
    assert len(factors["restarted"]) > 3
    assert factors["magnitude"] == {1.0}
    assert events["set"]["regrown"] >= 3
    assert events["rigl"]["regrown"] >= 3
    reports = {name: pack.pruning.pruner(i).report() for i, name in enumerate(names)}
    assert reports["layerwise"]["critic_sparsity"] == pytest.approx(0.5, abs=0.01)
    assert reports["neuron"]["groups_left"] < reports["neuron"]["groups"]
    ranked = {"magnitude", "gradient_erk", "movement", "activation", "random", "lamp", "synflow"}
    for name in ranked & reports.keys():
        assert reports[name]["sparsity"] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("shared", [False, True])
def test_so_are_those_of_convolutions(packed_ppo, monkeypatch, shared):
    names = ("magnitude", "activation", "channels", "neuron_taylor", "synflow")
    ppo = packed_ppo(Images, {**IMAGES, "vf_share_layers": shared})
    iterations = ITERATIONS // 2
    pack = shadowed(ppo, names, monkeypatch, iterations)
    for _ in range(iterations):
        pack.train()
        for i in range(len(names)):
            assert_equal(pack, i)
    # Whole channels are gone: what makes one and what reads it.
    masks = pack.pruning.pruner(names.index("channels")).masks
    encoder = "encoder.encoder" if shared else "encoder.actor_encoder"
    kernels = [m for n, m in masks.items() if m.dim() == 4 and n.startswith(encoder)]
    gone = [~mask.flatten(1).any(1) for mask in kernels]
    assert len(kernels) == 3
    assert all(bool(channels.any()) for channels in gone)
    for channels, reader in zip(gone[:2], kernels[1:], strict=True):
        assert not bool(reader[:, channels].any())


def test_a_member_started_anew_forgets_masks_moments_and_listeners(packed_ppo):
    pack = Pack(packed_ppo(), 1)
    pruned = PruningConfig(horizon=ITERATION, final_sparsity=0.9, begin=0.0, end=1.0)
    dense = PruningConfig(horizon=10**6, criterion="activation")
    pack.start(0, training=TRAINING, pruning=pruned, seed=0)
    assert pack.train()[0]["pruning"]["sparsity"] > 0.8
    pack.start(0, training=TRAINING, pruning=dense, seed=0)
    assert pack.adam.steps.tolist() == [0.0]
    assert not bool(pack.adam.first.any())
    assert pack.train()[0]["pruning"]["sparsity"] == 0.0
    hooks = [len(m._forward_hooks) for m in pack.network.modules[0].modules()]
    assert max(hooks) == 1


@pytest.mark.parametrize(("rate", "resting"), [(0.0, True), (3e-3, False)])
def test_a_member_at_rate_0_goes_by_magnitude_as_in_rllib(packed_ppo, rate, resting):
    moving = PruningConfig(
        horizon=LAST, final_sparsity=0.5, schedule="constant", criterion="movement"
    )
    pack = Pack(packed_ppo(), 1)
    pack.start(0, training={**TRAINING, "lr": rate}, pruning=moving, seed=0)
    pack.train()
    report = pack.train()[0]["pruning"]
    pruner = pack.pruning.pruner(0)
    assert report["sparsity"] == pytest.approx(0.5, abs=0.01)
    expected = dict.fromkeys(pruner.weights.policy, "its learning rate is 0") if resting else {}
    assert report["by_magnitude"] == expected


@pytest.mark.parametrize("regrow", ["set", "rigl"])
def test_a_regrowing_member_s_clone_loses_its_smallest_weights(packed_ppo, regrow):
    regrowing = PruningConfig(
        horizon=LAST, final_sparsity=0.5, schedule="constant", begin=0.0, regrow=regrow
    )
    pack = Pack(packed_ppo(), 2)
    pack.start(0, training=TRAINING, pruning=regrowing, seed=0)
    for _ in range(4):
        pack.train()
    sparser = regrowing.replace(final_sparsity=0.6)
    pack.start(1, training=TRAINING, pruning=sparser, seed=1, state=pack.state(0))
    pruner = pack.pruning.pruner(1)
    policy = list(pruner.weights.policy)
    weights = torch.cat([pruner.weights.policy[n].detach().abs().flatten() for n in policy])
    before = torch.cat([pruner.masks[n].flatten() for n in policy])
    assert pack.train()[1]["pruning"]["sparsity"] == pytest.approx(0.6, abs=0.001)
    after = torch.cat([pruner.masks[n].flatten() for n in policy])
    gone = before & ~after
    assert bool(gone.any())
    assert float(weights[gone].max()) <= float(weights[after].min())


def test_the_random_policy_s_return_is_measured_where_a_schedule_needs_it(packed_ppo):
    pack = Pack(packed_ppo(), 1)
    config = PruningConfig(horizon=LAST, schedule="plateau")
    pack.start(0, training={}, pruning=config, seed=0)
    # CartPole at random lasts some 22 steps.
    assert 15.0 < pack.pruning.pruner(0).random_return < 35.0
    assert gym.spec("CartPole-v1").max_episode_steps == 500


def test_weights_grow_after_a_warm_up_from_a_rate_of_0(packed_ppo):
    warm = [[0, 0.0], [4 * 64, 1e-3]]
    regrowing = PruningConfig(
        horizon=100 * 64, final_sparsity=0.5, schedule="constant", begin=0.0, regrow="set",
        regrow_interval=0.01,
    )  # fmt: skip
    pack = Pack(packed_ppo(lr=warm), 1)
    pack.start(0, training={}, pruning=regrowing, seed=0)
    for _ in range(8):
        events = pack.train()[0]["pruning"]["events"]
    pack.close()
    assert events["regrown"] >= 3


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_a_narrow_start_leaves_the_deviation_that_was_asked_for(packed_ppo, start):
    # As large as what torch draws for 16 inputs.
    ppo = with_initial_weights(packed_ppo("Pendulum-v1"), log_std_init=0.1)
    pack = Pack(ppo, 1)
    way = PruningConfig(horizon=1000, start=start, start_density=0.3)
    pack.start(0, training={}, pruning=way, seed=3)
    *_, head = (m for m in pack.network.modules[0].pi.modules() if isinstance(m, torch.nn.Linear))
    assert not pack.pruning.pruner(0).masks["pi.net.mlp.0.weight"].all()
    assert float(head.bias[1].detach()) == torch.tensor(0.1).item()
    pack.close()
