"""A network in training with its masks: exactness whatever happens to it, clones, roll-back."""

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.pruner import Pruner

HORIZON = 1000


class ActorCritic(nn.Module):
    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, hidden)
        self.pi = nn.Linear(hidden, 2)
        self.vf = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.pi(torch.tanh(self.encoder(inputs))), self.vf(inputs)], dim=-1)


class Training:
    """A network, a real Adam and a Pruner, stepped the way the Learner steps them."""

    def __init__(self, config: PruningConfig, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.module = ActorCritic()
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.05)
        self.pruner = Pruner(self.module, lambda: [self.optimizer], config, critic_prefixes=["vf"])
        self.env_steps = 0

    def update(self, env_steps: int, steps: int = 2) -> None:
        self.env_steps += env_steps
        self.pruner.before_update(self.env_steps)
        for _ in range(steps):
            inputs = torch.randn(8, 3, generator=self.generator)
            self.optimizer.zero_grad()
            (self.module(inputs) - inputs.sum(-1, keepdim=True)).pow(2).mean().backward()
            self.pruner.observe_gradients([(p, p.grad) for p in self.module.parameters()])
            self.pruner.mask_gradients_([(p, p.grad) for p in self.module.parameters()])
            self.optimizer.step()
            self.pruner.enforce_()
        self.pruner.after_update()

    def save(self) -> bytes:
        return pickle.dumps(
            {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "pruner": self.pruner.state_dict(),
                "env_steps": self.env_steps,
            }
        )

    def load(self, saved: bytes) -> None:
        state = pickle.loads(saved)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.env_steps = state["env_steps"]
        self.pruner.load_state_dict(state["pruner"])

    def masked(self, names: Sequence[str]) -> int:
        return sum(int((~self.pruner.masks[name]).sum()) for name in names)

    def snapshot(self) -> dict[str, torch.Tensor]:
        parts = {f"p.{n}": p.detach().clone() for n, p in self.module.named_parameters()}
        parts |= {f"m.{n}": mask.clone() for n, mask in self.pruner.masks.items()}
        for name, parameter in self.module.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                parts[f"o.{name}.{key}"] = value.clone()
        return parts


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def config(**changes: object) -> PruningConfig:
    values = {
        "final_sparsity": 0.8,
        "schedule": "linear",
        "begin": 0.1,
        "end": 0.9,
        "horizon": HORIZON,
        "random_return": 0.0,
        "patience": 1,
        "step": 0.3,
        "min_step": 0.05,
        "tolerance": 0.1,
    }
    return PruningConfig.from_dict({**values, **changes})


def test_the_policy_path_and_the_critic_have_their_own_targets() -> None:
    training = Training(config(final_sparsity=0.8, critic_final_sparsity=0.5))
    training.update(900)
    report = training.pruner.report()
    assert report["zeros"] == round(0.8 * 30) == 24
    assert report["sparsity"] == 24 / 30
    assert report["nonzero_params"] == 6
    assert report["total_params"] == 30
    assert report["critic_sparsity"] == 10 / 20
    assert set(report["layers"]) == {"encoder.weight", "pi.weight", "vf.0.weight", "vf.2.weight"}
    assert report["target_sparsity"] == pytest.approx(0.8)
    assert report["event"] == "pruned"


def test_excluded_layers_stay_dense() -> None:
    training = Training(config(exclude=("pi.*",)))
    training.update(900)
    assert "pi.weight" not in training.pruner.masks
    assert int((training.module.pi.weight == 0).sum()) == 0
    assert training.pruner.report()["total_params"] == 18


def test_gradients_of_pruned_weights_are_zeroed_and_others_are_not() -> None:
    training = Training(config())
    training.update(600)
    weight = training.module.encoder.weight
    mask = training.pruner.masks["encoder.weight"]
    gradient, bias_gradient = torch.ones_like(weight), torch.ones(6)
    training.pruner.mask_gradients_(
        [(weight, gradient), (training.module.encoder.bias, bias_gradient), (weight, None)]
    )
    assert torch.equal(gradient, mask.float())
    assert torch.equal(bias_gradient, torch.ones(6))


@pytest.mark.parametrize("unit", ["absolute", "std"])
def test_a_threshold_prunes_what_is_below_it(unit: str) -> None:
    training = Training(
        config(final_sparsity=None, threshold=0.3, threshold_unit=unit, schedule="one_shot")
    )
    training.update(90)
    before = {n: w.detach().clone() for n, w in training.pruner.weights.policy.items()}
    training.update(20, steps=0)
    for name, weight in before.items():
        scale = weight.std(correction=0) if unit == "std" else 1.0
        assert torch.equal(training.pruner.masks[name], weight.abs() / scale >= 0.3)
    assert bool(training.pruner.masks["vf.0.weight"].all())


def test_target_and_threshold_together_prune_no_further_than_either() -> None:
    training = Training(config(final_sparsity=0.2, threshold=1e9, schedule="one_shot"))
    training.update(200)
    assert training.masked(["encoder.weight", "pi.weight"]) == round(0.2 * 30)
    training = Training(config(final_sparsity=0.9, threshold=0.0, schedule="one_shot"))
    training.update(200)
    assert training.masked(["encoder.weight", "pi.weight"]) == 0


def test_after_a_roll_back_everything_equals_the_accepted_state_bit_by_bit() -> None:
    training = Training(config(schedule="plateau", patience=1))
    training.update(200)
    training.pruner.observe(100.0)
    accepted = training.snapshot()
    training.update(10)
    assert training.pruner.event == "pruned"
    assert training.masked(["encoder.weight", "pi.weight"]) == round(0.3 * 30)
    training.pruner.observe(1.0)
    training.update(10)
    assert training.pruner.event == "held"
    assert training.pruner.report()["patience_left"] == 0
    training.pruner.observe(1.0)
    training.update(10, steps=0)
    assert training.pruner.event == "rolled_back"
    assert equal(training.snapshot(), accepted)
    assert training.pruner.report()["plateau_step"] == pytest.approx(0.15 / 0.8)
    events = {name: count for name, count in training.pruner.events.items() if count}
    assert events == {"pruned": 1, "held": 1, "rolled_back": 1}


def test_a_roll_back_survives_a_checkpoint() -> None:
    training = Training(config(schedule="plateau", patience=0))
    training.update(200)
    training.pruner.observe(100.0)
    accepted = training.snapshot()
    training.update(10)
    restored = Training(config(schedule="plateau", patience=0), seed=1)
    restored.load(training.save())
    restored.pruner.observe(1.0)
    restored.update(10, steps=0)
    assert equal(restored.snapshot(), accepted)


def test_an_impossible_tolerance_ends_at_the_sparsity_it_started_from() -> None:
    training = Training(config(schedule="plateau", patience=0, tolerance=0.0, step=0.2))
    for i in range(12):
        training.pruner.observe(100.0 - i)
        training.update(50)
    assert training.pruner.report()["sparsity"] == 0.0
    assert training.pruner.events["rolled_back"] == 3


def test_a_clone_with_the_same_configuration_goes_on_exactly() -> None:
    original = Training(config(critic_final_sparsity=0.3))
    original.update(400)
    clone = Training(config(critic_final_sparsity=0.3), seed=7)
    clone.load(original.save())
    clone.generator.set_state(original.generator.get_state())
    original.update(100)
    clone.update(100)
    assert equal(original.snapshot(), clone.snapshot())


def test_a_clone_with_a_new_target_rises_from_the_sparsity_now() -> None:
    original = Training(config(final_sparsity=0.5))
    original.update(500)
    clone = Training(config(final_sparsity=0.9))
    clone.load(original.save())
    before = clone.masked(["encoder.weight", "pi.weight"])
    clone.update(1)
    assert clone.masked(["encoder.weight", "pi.weight"]) - before <= 1
    clone.update(400)
    assert clone.pruner.report()["sparsity"] == 27 / 30


def test_a_clone_with_a_lower_target_holds() -> None:
    original = Training(config(final_sparsity=0.9))
    original.update(800)
    clone = Training(config(final_sparsity=0.2))
    clone.load(original.save())
    before = copy.deepcopy(clone.pruner.masks)
    clone.update(150)
    assert all(torch.equal(before[n], m) for n, m in clone.pruner.masks.items())


def test_masks_of_another_network_are_refused() -> None:
    state = Training(config()).pruner.state_dict()
    other = Training(config(exclude=("pi.*",)))
    with pytest.raises(CheckpointError, match=r"pi\.weight"):
        other.pruner.load_state_dict(state)


def test_synchronise_has_the_last_word() -> None:
    """As when ranks compute different scores: every rank keeps the first one's masks."""
    first = Training(config())
    first.update(500)
    theirs = iter(list(first.pruner.masks.values()))
    second = Training(config(), seed=5)

    def receive(mask: torch.Tensor) -> None:
        mask.copy_(next(theirs))

    second.pruner._synchronise = receive
    second.update(500, steps=0)
    assert all(torch.equal(first.pruner.masks[n], m) for n, m in second.pruner.masks.items())
    assert all(
        bool((second.pruner.all_weights[n][~m] == 0).all()) for n, m in first.pruner.masks.items()
    )


POLICY = ("encoder.weight", "pi.weight")
CRITIC = ("vf.0.weight", "vf.2.weight")
configs = st.builds(
    config,
    final_sparsity=st.floats(0.0, 0.95),
    critic_final_sparsity=st.floats(0.0, 0.95),
    schedule=st.sampled_from(["one_shot", "linear", "cubic", "plateau"]),
    criterion=st.sampled_from(["magnitude", "random"]),
    scope=st.sampled_from(["global", "layerwise"]),
)


class Life(RuleBasedStateMachine):
    """Whatever happens, in whatever order: masked weights are zero and counts are exact."""

    @initialize(config=configs)
    def begin(self, config: PruningConfig) -> None:
        self.training = Training(config)
        self.saved: list[tuple[PruningConfig, bytes, dict[str, torch.Tensor]]] = []

    @rule(env_steps=st.integers(1, 250), steps=st.integers(0, 3))
    def update(self, env_steps: int, steps: int) -> None:
        training, pruner = self.training, self.training.pruner
        before = {names: training.masked(names) for names in (POLICY, CRITIC)}
        training.update(env_steps, steps)
        extent = pruner.extent
        assert extent is not None
        if pruner.event == "rolled_back":
            assert training.masked(POLICY) <= before[POLICY]
        for names, sparsity, n in (
            (POLICY, extent.sparsity, 30),
            (CRITIC, extent.critic_sparsity, 20),
        ):
            wanted = round(sparsity * n)
            floor = 0 if pruner.event == "rolled_back" else before[names]
            assert training.masked(names) == max(wanted, floor)

    @rule(value=st.sampled_from([0.0, 50.0, 100.0, 101.0, float("nan")]))
    def observe(self, value: float) -> None:
        self.training.pruner.observe(value)

    @rule()
    def save(self) -> None:
        training = self.training
        self.saved.append((training.pruner.config, training.save(), training.snapshot()))

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        saved_config, saved, snapshot = data.draw(st.sampled_from(self.saved))
        if saved_config == self.training.pruner.config:
            self.training.load(saved)
        else:
            self.training = Training(saved_config, seed=3)
            self.training.load(saved)
        assert equal(self.training.snapshot(), snapshot)

    @rule(config=configs)
    def clone(self, config: PruningConfig) -> None:
        clone = Training(config, seed=9)
        clone.load(self.training.save())
        assert equal(clone.snapshot(), self.training.snapshot())
        self.training = clone

    @invariant()
    def masked_weights_and_their_moments_are_zero(self) -> None:
        if not hasattr(self, "training"):
            return
        for name, mask in self.training.pruner.masks.items():
            weight = self.training.pruner.all_weights[name]
            assert bool((weight.detach()[~mask] == 0).all())
            for key in ("exp_avg", "exp_avg_sq"):
                moment = self.training.optimizer.state.get(weight, {}).get(key)
                assert moment is None or bool((moment[~mask] == 0).all())

    @invariant()
    def reported_sparsity_is_that_of_the_masks(self) -> None:
        if hasattr(self, "training"):
            report = self.training.pruner.report()
            assert report["zeros"] == self.training.masked(POLICY)
            assert report["critic_sparsity"] == self.training.masked(CRITIC) / 20


TestLife = Life.TestCase
TestLife.settings = settings(
    deadline=None, derandomize=True, max_examples=60, stateful_step_count=25
)
