"""A network in training that is pruned by units, layers or branches, whatever happens to it."""

import functools
import math
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import Tensor, nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import CRITERIA
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.schedule.patience import WINDOW
from rllib_ext.pruning.structure.graph import Graph, Probe, trace
from rllib_ext.pruning.structure.shrink import shrink
from rllib_ext.pruning.training.pruner import Pruner

HORIZON = 1000
# On the policy path: stem, block, the four gates, head.
WEIGHTS = 3 * 6 + 6 * 6 + 4 * 5 * (6 + 5) + 5 * 2


class Network(nn.Module):
    """An actor with a block that has a path around it, a recurrent layer, and a critic apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(3, 6), nn.Linear(6, 6)
        self.core = nn.LSTM(6, 5, batch_first=True)
        self.pi = nn.Linear(5, 2)
        self.vf = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).tanh()
        return torch.cat([self.pi(self.core(h + self.block(h).relu())[0]), self.vf(x)], -1)


PROBE = Probe(
    inputs=lambda module, generator: torch.randn(4, 50, 3, generator=generator),
    forward=lambda module, x: module(x),
    observations=200,
)


def fresh() -> Network:
    """A network with the weights of every other fresh one."""
    torch.manual_seed(0)
    return Network()


@functools.cache
def fresh_graph() -> Graph:
    return trace(fresh(), PROBE)


class Training:
    """A network, a real Adam and a Pruner, stepped the way the Learner steps them."""

    def __init__(self, config: PruningConfig) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.module = fresh()
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.05)
        self.pruner = self._pruner(config, fresh_graph)
        self.env_steps = 0

    def _pruner(self, config: PruningConfig, graph: Callable[[], Graph] | None = None) -> Pruner:
        return Pruner(
            self.module,
            lambda: [self.optimizer],
            config,
            critic_prefixes=["vf"],
            graph=graph or (lambda: trace(self.module, PROBE)),
        )

    def update(self, env_steps: int, steps: int = 2) -> None:
        self.env_steps += env_steps
        self.pruner.before_update(self.env_steps)
        for _ in range(steps):
            x = torch.randn(8, 4, 3, generator=self.generator)
            self.optimizer.zero_grad()
            (self.module(x) - x.sum(-1, keepdim=True)).pow(2).mean().backward()
            gradients = [(p, p.grad) for p in self.module.parameters()]
            self.pruner.observe_gradients(gradients)
            self.pruner.mask_gradients_(gradients)
            self.optimizer.step()
            self.pruner.enforce_()
        self.pruner.after_update()

    def save(self) -> bytes:
        parts = {"module": self.module, "optimizer": self.optimizer, "pruner": self.pruner}
        states = {name: part.state_dict() for name, part in parts.items()}
        return pickle.dumps({**states, "env_steps": self.env_steps})

    def load(self, saved: bytes, config: PruningConfig | None = None) -> None:
        state = pickle.loads(saved)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.env_steps = state["env_steps"]
        self.pruner = self._pruner(config or self.pruner.config)
        self.pruner.load_state_dict(state["pruner"])

    def assert_exact(self) -> None:
        """Removed groups are gone whole, to the last bias and moment, and nothing else is masked."""
        structure, masks = self.pruner.structure, self.pruner.masks
        assert structure is not None
        removed = structure.removed(masks)
        parameters = dict(self.module.named_parameters())
        dead = {name: ~mask for name, mask in structure.keep_masks(removed, masks).items()}
        for name, mask in masks.items():
            assert torch.equal(dead[name], ~mask)
        for name, groups in structure.biases.items():
            gone = [i for i, g in enumerate(groups.tolist()) if g >= 0 and removed[g]]
            dead[name] = torch.zeros(len(groups), dtype=torch.bool)
            dead[name][gone] = True
        for name, where in dead.items():
            assert not parameters[name].detach()[where].any()
            for key, moment in self.optimizer.state.get(parameters[name], {}).items():
                if key != "step":
                    assert not moment[where].any()


def config(**changes: object) -> PruningConfig:
    values = {
        "final_sparsity": 0.7,
        "critic_final_sparsity": 0.4,
        "granularity": "neuron",
        "schedule": "linear",
        "begin": 0.1,
        "end": 0.9,
        "horizon": HORIZON,
        "random_return": 0.0,
        "patience": 1,
        "step": 0.2,
        "min_step": 0.05,
        "tolerance": 0.1,
    }
    return PruningConfig.from_dict({**values, **changes})


DAMAGE = {
    name: ((0.5, 1.0 + i), (1.0, 3.0))
    for i, name in enumerate(
        ["stem.weight", "block.weight", "core.weight_ih_l0", "core.weight_hh_l0", "pi.weight"]
    )
}


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
@pytest.mark.parametrize("criterion", sorted(CRITERIA))
@pytest.mark.parametrize("granularity", ["neuron", "layer"])
def test_every_criterion_and_scope_prunes_whole_groups_up_to_the_target(
    criterion, scope, granularity
):
    damage = DAMAGE if criterion == "sensitivity" else ()
    training = Training(
        config(criterion=criterion, scope=scope, granularity=granularity, damage=damage)
    )
    zeros = []
    for _ in range(11):
        training.update(100)
        training.assert_exact()
        report = training.pruner.report()
        zeros.append(report["zeros"])
        assert report["zeros"] <= math.floor(report["target_sparsity"] * WEIGHTS + 1e-9)
        assert report["critic_sparsity"] <= report["critic_target_sparsity"] + 1e-9
    assert report["total_params"] == WEIGHTS
    assert zeros == sorted(zeros)
    assert zeros[-1] > (0.4 * WEIGHTS if granularity == "neuron" else 30)
    assert report["groups_left"] < report["groups"]
    assert shrink(training.module, training.pruner.masks, PROBE).after.macs < WEIGHTS + 28


@pytest.mark.parametrize("criterion", ["magnitude", "random", "gradient"])
def test_the_same_seed_gives_the_same_masks(criterion):
    found = []
    for _ in range(2):
        training = Training(config(criterion=criterion))
        for _ in range(6):
            training.update(150)
        found.append(training.pruner.masks)
    assert all(torch.equal(found[0][name], mask) for name, mask in found[1].items())


def test_a_threshold_in_deviations_of_the_layer_stops_at_the_target_too():
    reached = {}
    for name, values in {
        "threshold": {"final_sparsity": None},
        "both": {"final_sparsity": 0.2},
    }.items():
        training = Training(config(threshold=0.8, threshold_unit="std", **values))
        for _ in range(10):
            training.update(100)
            training.assert_exact()
        reached[name] = training.pruner.report()["zeros"]
    assert 0 < reached["both"] <= 0.2 * WEIGHTS < reached["threshold"]


def test_rolling_back_brings_units_back_bit_by_bit():
    training = Training(config(schedule="plateau", begin=0.0, step=0.5))
    # As many evaluations as the reference takes.
    for _ in range(WINDOW):
        training.update(50)
        training.pruner.observe(100.0)
    before = {n: p.detach().clone() for n, p in training.module.named_parameters()}
    training.update(50, steps=0)
    removed = training.pruner.structure.removed(training.pruner.masks)
    assert removed.any()
    for _ in range(3):
        training.pruner.observe(0.0)
        training.update(50)
        if training.pruner.event == "rolled_back":
            break
        training.assert_exact()
    training.pruner.observe(0.0)
    assert training.pruner.event == "rolled_back"
    assert not training.pruner.structure.removed(training.pruner.masks).any()
    after = dict(training.module.named_parameters())
    rows = torch.nonzero(training.pruner.structure.biases["stem.bias"] >= 0).flatten()
    assert before["stem.bias"][rows].all()
    assert after["stem.bias"][rows].all()


def test_regrowth_of_single_weights_is_refused_with_groups():
    with pytest.raises(ConfigError, match="granularity='weight'"):
        config(schedule="constant", regrow="set")


class Lineage(RuleBasedStateMachine):
    """Updates, checkpoints and clones in any order: what is removed stays removed, whole."""

    @initialize(
        schedule=st.sampled_from(["linear", "cubic", "one_shot", "plateau"]),
        scope=st.sampled_from(["global", "layerwise", "erk"]),
        granularity=st.sampled_from(["neuron", "layer"]),
    )
    def begin(self, schedule: str, scope: str, granularity: str) -> None:
        self.values = {"schedule": schedule, "scope": scope, "granularity": granularity}
        self.training = Training(config(**self.values))
        self.saved = self.training.save()

    @rule(env_steps=st.sampled_from([20, 120, 300]), value=st.sampled_from([None, 0.0, 100.0]))
    def update(self, env_steps: int, value: float | None) -> None:
        before = self.training.pruner.masks
        self.training.pruner.observe(value)
        self.training.update(env_steps)
        if self.training.pruner.event != "rolled_back":
            after = self.training.pruner.masks
            assert all(bool((after[name] <= mask).all()) for name, mask in before.items())

    @rule()
    def save(self) -> None:
        self.saved = self.training.save()

    @rule()
    def restore(self) -> None:
        self.training.load(self.saved)
        saved = pickle.loads(self.saved)["pruner"]["masks"]
        assert all(
            bool((saved[n] == m.numpy()).all()) for n, m in self.training.pruner.masks.items()
        )

    @rule(sparsity=st.sampled_from([0.3, 0.95]))
    def clone(self, sparsity: float) -> None:
        self.training.load(self.saved, config(**self.values, final_sparsity=sparsity))

    @invariant()
    def exact(self) -> None:
        self.training.assert_exact()


Lineage.TestCase.settings = settings(
    deadline=None, derandomize=True, max_examples=15, stateful_step_count=12
)
test_no_history_leaves_a_part_of_a_removed_group = Lineage.TestCase
