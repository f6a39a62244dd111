"""A network in training with its masks: exactness whatever happens to it, clones, roll-back."""

import copy
import pickle
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

from rllib_ext.pruning.config import Criterion, PruningConfig, Schedule, Scope
from rllib_ext.pruning.criteria import READS
from rllib_ext.pruning.errors import CheckpointError, ConfigError
from rllib_ext.pruning.schedule.patience import WINDOW
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.pruning.training.side import Coefficients

HORIZON = 1000
POLICY = ("encoder.weight", "pi.weight")
CRITIC = ("vf.0.weight", "vf.2.weight")
PROBE = Probe(
    inputs=lambda module, generator: torch.randn(4, 3, generator=generator),
    forward=lambda module, inputs: module(inputs),
    observations=4,
)


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
        self.adapted = {"kl": 0.2}
        self.pruner = Pruner(
            self.module,
            lambda: [self.optimizer],
            config,
            critic_prefixes=["vf"],
            # For paths; without a probe all weights that are kept count.
            graph=lambda: trace(self.module, PROBE),
            coefficients=Coefficients(lambda: dict(self.adapted), self.adapted.update),
        )
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
            self.adapted["kl"] *= 1.5
        self.pruner.after_update()

    def until_the_first_raise(self) -> None:
        """Shows the plateau rule all returns but the last one that it needs for a reference."""
        for _ in range(WINDOW - 1):
            self.pruner.observe(100.0)
            self.update(1)

    def save(self) -> bytes:
        return pickle.dumps(
            {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "pruner": self.pruner.state_dict(),
                "env_steps": self.env_steps,
                "adapted": self.adapted,
            }
        )

    def load(self, saved: bytes) -> None:
        state = pickle.loads(saved)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.env_steps = state["env_steps"]
        self.adapted.update(state["adapted"])
        self.pruner.load_state_dict(state["pruner"])

    def masked(self, names: Sequence[str]) -> int:
        return sum(int((~self.pruner.masks[name]).sum()) for name in names)

    def snapshot(self) -> dict[str, torch.Tensor]:
        parts = {f"p.{n}": p.detach().clone() for n, p in self.module.named_parameters()}
        parts |= {f"m.{n}": mask.clone() for n, mask in self.pruner.masks.items()}
        for name, parameter in self.module.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                parts[f"o.{name}.{key}"] = value.clone()
        return parts | self.side()

    def side(self) -> dict[str, torch.Tensor]:
        """Statistics of this criterion and what adapts beside the network."""
        parts = {f"c.{name}": torch.tensor(value) for name, value in self.adapted.items()}
        for kind, by_name in self.pruner.gatherer.state_dict().items():
            for name, (seen, value) in by_name.items():
                parts |= {f"s.{kind}.{name}": torch.tensor(value)}
                parts |= {f"s.{kind}.{name}.seen": torch.tensor(seen)}
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude": ("*",)}, r"exclude = \['\*'\] leaves over.*Exclude fewer"),
        ({"exclude": ("encoder.*", "pi.*")}, "the policy network has no prunable weights"),
        (
            {"exclude": ("vf.*",), "critic_final_sparsity": 0.5},
            "critic_final_sparsity = 0.5.*critic alone.*Set critic_final_sparsity=0",
        ),
        ({"exclude": ("polcy.*",)}, r"'polcy\.\*' matches no parameter.*pi\.weight"),
    ],
)
def test_a_network_that_cannot_be_pruned_as_asked_is_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Training(config(**changes))


def test_a_critic_without_a_target_may_be_excluded_whole() -> None:
    training = Training(config(exclude=("vf.*",)))
    training.update(900)
    assert training.masked(POLICY) == 24


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
    assert training.masked(POLICY) == round(0.2 * 30)
    training = Training(config(final_sparsity=0.9, threshold=0.0, schedule="one_shot"))
    training.update(200)
    assert training.masked(POLICY) == 0


@pytest.mark.parametrize("criterion", ["magnitude", "gradient", "movement", "activation"])
def test_after_a_roll_back_everything_equals_the_accepted_state_bit_by_bit(criterion: str) -> None:
    """Whatever the update has learned meanwhile: its batch was the abandoned policy's."""
    training = Training(config(schedule="plateau", patience=1, criterion=criterion))
    training.update(200)
    training.until_the_first_raise()
    training.pruner.observe(100.0)
    accepted = training.snapshot()
    training.update(10)
    assert training.pruner.event == "pruned"
    assert training.masked(POLICY) == round(0.3 * 30)
    training.pruner.observe(1.0)
    training.update(10)
    assert training.pruner.event == "held"
    assert training.pruner.report()["patience_left"] == 0
    training.pruner.observe(1.0)
    training.update(10)
    assert training.pruner.event == "rolled_back"
    assert equal(training.snapshot(), accepted)
    training.update(10)
    assert training.pruner.event == ""
    assert not equal(training.snapshot(), accepted)
    assert training.pruner.report()["plateau_step"] == pytest.approx(0.15 / 0.8)
    events = {name: count for name, count in training.pruner.events.items() if count}
    assert events == {"pruned": 1, "held": 1, "rolled_back": 1}


def test_a_roll_back_survives_a_checkpoint() -> None:
    training = Training(config(schedule="plateau", patience=0))
    training.update(200)
    training.until_the_first_raise()
    training.pruner.observe(100.0)
    accepted = training.snapshot()
    training.update(10)
    restored = Training(config(schedule="plateau", patience=0), seed=1)
    restored.load(training.save())
    restored.pruner.observe(1.0)
    restored.update(10)
    assert equal(restored.snapshot(), accepted)


def test_an_impossible_tolerance_ends_at_the_sparsity_it_started_from() -> None:
    training = Training(config(schedule="plateau", patience=0, tolerance=0.0, step=0.2))
    for _ in range(12):
        training.pruner.observe(50.0 if training.masked(POLICY) else 100.0)
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
    before = clone.masked(POLICY)
    clone.update(1)
    assert clone.masked(POLICY) - before <= 1
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
    ready, failed = torch.ones(1), torch.zeros(1)
    theirs = iter([ready, failed, *first.pruner.masks.values()])
    second = Training(config(), seed=5)

    def receive(said: torch.Tensor) -> None:
        said.copy_(next(theirs))

    second.pruner._next.agreement.synchronise = receive
    second.update(500, steps=0)
    assert all(torch.equal(first.pruner.masks[n], m) for n, m in second.pruner.masks.items())
    assert all(
        bool((second.pruner.all_weights[n][~m] == 0).all()) for n, m in first.pruner.masks.items()
    )


DAMAGE = {name: [(0.5, 0.1), (0.9, 1.0)] for name in (*POLICY, *CRITIC)}


@pytest.mark.parametrize("scope", get_args(Scope))
@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_every_criterion_prunes_exactly_in_every_scope(criterion: str, scope: str) -> None:
    training = Training(
        config(
            criterion=criterion,
            scope=scope,
            critic_final_sparsity=0.5,
            damage=DAMAGE,
            begin=0.0,
            window=4,
        )
    )
    for _ in range(10):
        training.update(100)
        extent = training.pruner.extent
        if training.env_steps > 100:
            assert training.masked(POLICY) == round(extent.sparsity * 30)
            assert training.masked(CRITIC) == round(extent.critic_sparsity * 20)
    assert training.pruner.report()["sparsity"] == 24 / 30
    assert training.pruner.report()["critic_sparsity"] == 10 / 20


@pytest.mark.parametrize("criterion", ["gradient", "movement", "activation"])
def test_what_is_gathered_in_training_prunes_from_the_second_update_on(criterion: str) -> None:
    training = Training(config(criterion=criterion, schedule="one_shot", begin=0.0))
    training.update(10)
    assert training.masked(POLICY) == 0
    assert training.pruner.event == ""
    training.update(10)
    assert training.masked(POLICY) == 24
    assert training.pruner.event == "pruned"


@pytest.mark.parametrize("criterion", ["gradient", "movement"])
def test_the_lowest_scores_go(criterion: str) -> None:
    """Against scores summed up beside the Pruner."""
    training = Training(config(criterion=criterion, schedule="one_shot", begin=0.5, window=10_000))
    scores = {name: torch.zeros_like(w) for name, w in training.pruner.weights.policy.items()}
    observe = training.pruner.observe_gradients

    def also_here(gradients: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
        for name, weight in training.pruner.weights.policy.items():
            product = weight.detach() * weight.grad
            scores[name] += product.abs() if criterion == "gradient" else -product
        observe(gradients)

    training.pruner.observe_gradients = also_here
    training.update(300, steps=7)
    training.update(300, steps=0)
    flat = torch.cat([scores[name].flatten() for name in POLICY])
    kept = torch.cat([training.pruner.masks[name].flatten() for name in POLICY])
    assert int(kept.sum()) == 6
    assert float(flat[kept].min()) >= float(flat[~kept].max())


def test_statistics_travel_with_a_clone() -> None:
    original = Training(config(criterion="movement"))
    original.update(50)
    clone = Training(config(criterion="movement", final_sparsity=0.5), seed=4)
    clone.load(original.save())
    clone.update(400, steps=0)
    original.update(400, steps=0)
    assert clone.pruner.event == "pruned"
    assert all(
        torch.equal(clone.pruner.gatherer.values("movement")[n], value)
        for n, value in original.pruner.gatherer.values("movement").items()
    )


def test_with_a_threshold_no_more_goes_while_patience_holds() -> None:
    training = Training(
        config(
            final_sparsity=None,
            threshold=0.4,
            schedule="plateau",
            patience=3,
            step=0.5,
        )
    )
    training.update(200)
    training.until_the_first_raise()
    training.pruner.observe(100.0)
    training.update(10)
    before = copy.deepcopy(training.pruner.masks)
    assert training.masked(POLICY) > 0
    for _ in range(3):
        # Weights drift below the threshold meanwhile.
        with torch.no_grad():
            training.module.encoder.weight.mul_(0.5)
        training.pruner.observe(1.0)
        training.update(10)
        assert training.pruner.event == "held"
    assert all(torch.equal(before[n], mask) for n, mask in training.pruner.masks.items())


def regrowing(rule: str, **changes: object) -> PruningConfig:
    values = {
        "regrow": rule,
        "schedule": "constant",
        "scope": "erk",
        "final_sparsity": 0.6,
        "begin": 0.0,
        "end": 0.75,
        "regrow_share": 0.5,
        "window": 1,
    }
    return config(**{**values, **changes})


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_regrowth_keeps_every_layers_count_and_changes_the_masks_until_end(rule: str) -> None:
    training = Training(regrowing(rule, critic_final_sparsity=0.4))
    training.update(50)
    start = copy.deepcopy(training.pruner.masks)
    assert training.masked(POLICY) == 18
    assert training.masked(CRITIC) == 8
    counts = {name: int(mask.sum()) for name, mask in start.items()}
    for _ in range(18):
        training.update(50)
        assert {n: int(mask.sum()) for n, mask in training.pruner.masks.items()} == counts
        if training.env_steps == 750:
            at_end = copy.deepcopy(training.pruner.masks)
    assert training.pruner.events["regrown"] >= 5
    assert any(not torch.equal(start[n], at_end[n]) for n in start)
    assert all(torch.equal(mask, at_end[n]) for n, mask in training.pruner.masks.items())


def test_the_sparse_start_is_random_and_fixed_by_the_seed() -> None:
    """The masks know nothing of the weights: two networks with one seed get the same."""
    first, second = Training(regrowing("set"), seed=0), Training(regrowing("set"), seed=1)
    first.update(10)
    second.update(10)
    assert all(torch.equal(first.pruner.masks[n], m) for n, m in second.pruner.masks.items())


@pytest.mark.parametrize("criterion", ["magnitude", "gradient", "movement"])
@pytest.mark.parametrize("rule", ["set", "rigl"])
@pytest.mark.parametrize(
    "donor",
    [{"final_sparsity": 0.5}, {"regrow": None, "schedule": "cubic", "final_sparsity": 0.5}],
    ids=["regrowing", "cubic"],
)
def test_what_a_regrowing_clone_prunes_beyond_its_donor_goes_by_the_criterion(
    donor: dict[str, object], rule: str, criterion: str
) -> None:
    """As in a clone of the same donor that doesn't regrow."""
    common = {"scope": "global", "criterion": criterion}
    original = Training(regrowing(rule, **common, **donor))
    for _ in range(8):
        original.update(50, steps=10)
    clones = [Training(regrowing(rule, **common, regrow=r), seed=3) for r in (rule, None)]
    for clone in clones:
        clone.load(original.save())
        before = copy.deepcopy(clone.pruner.masks)
        weights = {name: w.detach().clone() for name, w in clone.pruner.weights.policy.items()}
        clone.update(1, steps=0)
        assert clone.pruner.event == "pruned"
        assert clone.masked(POLICY) == 18 > original.masked(POLICY)
    found, expected = (clone.pruner.masks for clone in clones)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    if criterion == "magnitude":
        flat = [torch.cat([v[n].flatten() for n in POLICY]) for v in (weights, before, found)]
        weight, was, now = flat[0].abs(), flat[1], flat[2]
        assert float(weight[was & ~now].max()) <= float(weight[now].min())


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_regrown_weights_start_next_to_zero_with_fresh_moments(rule: str) -> None:
    training = Training(regrowing(rule))
    for _ in range(4):
        training.update(30, steps=20)
    before = {name: mask.clone() for name, mask in training.pruner.masks.items()}
    training.update(30, steps=0)
    assert training.pruner.event == "regrown"
    regrown = 0
    for name in POLICY:
        weight, mask = training.pruner.all_weights[name], training.pruner.masks[name]
        new, stayed = mask & ~before[name], mask & before[name]
        state = training.optimizer.state[weight]
        regrown += int(new.sum())
        assert weight.detach()[new].all()
        size = weight.detach().abs()
        assert float(size[new].max()) <= 1e-6 * float(size[stayed].max())
        assert not state["exp_avg"][new].any()
        assert torch.allclose(state["exp_avg_sq"][new], state["exp_avg_sq"][stayed].mean())
    assert regrown > 0
    training.update(1, steps=1)
    assert any(
        bool((training.pruner.all_weights[n].detach()[m & ~before[n]].abs() > 1e-3).any())
        for n, m in training.pruner.masks.items()
    )


def test_rigl_grows_where_the_gradient_is_largest() -> None:
    training = Training(regrowing("rigl"))
    training.update(30)
    training.update(30, steps=1)
    gradient = training.pruner.gatherer.values("mean_gradient")["encoder.weight"].abs()
    before = training.pruner.masks["encoder.weight"].clone()
    training.update(30, steps=0)
    after = training.pruner.masks["encoder.weight"]
    grown, left = after & ~before, ~after & ~before
    assert bool(grown.any())
    assert float(gradient[grown].min()) >= float(gradient[left].max())


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_regrowth_goes_on_exactly_after_a_restore(rule: str) -> None:
    original = Training(regrowing(rule))
    for _ in range(3):
        original.update(40)
    clone = Training(regrowing(rule), seed=8)
    clone.load(original.save())
    clone.generator.set_state(original.generator.get_state())
    for _ in range(3):
        original.update(40)
        clone.update(40)
    assert equal(original.snapshot(), clone.snapshot())
    assert clone.pruner.events == original.pruner.events


def test_exchanges_keep_their_distance() -> None:
    training = Training(regrowing("set", regrow_interval=0.2))
    events = []
    for _ in range(10):
        training.update(50)
        events.append(training.pruner.event)
    assert events.count("regrown") == 2


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
@pytest.mark.parametrize("rewind_to", [0.0, 0.15])
def test_after_a_round_all_but_masks_and_moments_is_as_it_was_early(
    rewind_to: float, criterion: str
) -> None:
    training = Training(
        config(
            schedule="iterative",
            round_share=0.5,
            begin=0.2,
            final_sparsity=0.75,
            rewind_to=rewind_to,
            criterion=criterion,
        )
    )
    early = {n: p.detach().clone() for n, p in training.module.named_parameters()}
    rounds = 0
    while training.env_steps < 1000:
        if rewind_to and training.env_steps == 100:
            early = {n: p.detach().clone() for n, p in training.module.named_parameters()}
        if training.env_steps == 100 * bool(rewind_to):
            early_side = training.side()
        training.update(50)
        if training.pruner.event != "rewound":
            continue
        rounds += 1
        assert equal(training.side(), early_side)
        for name, parameter in training.module.named_parameters():
            mask = training.pruner.masks.get(name, torch.ones_like(parameter, dtype=torch.bool))
            assert torch.equal(parameter.detach(), torch.where(mask, early[name], 0.0))
        assert not training.optimizer.state
    assert rounds == 2
    assert training.pruner.events["rewound"] == training.pruner.events["pruned"] == 2
    assert training.masked(POLICY) == round(0.75 * 30)


def test_rewinding_survives_a_checkpoint() -> None:
    rewinding = config(schedule="iterative", begin=0.2, final_sparsity=0.5, rewind_to=0.0)
    original = Training(rewinding)
    early = original.module.encoder.bias.detach().clone()
    original.update(150)
    clone = Training(rewinding, seed=6)
    clone.load(original.save())
    while clone.pruner.event != "rewound":
        clone.update(50)
    assert torch.equal(clone.module.encoder.bias.detach(), early)


def test_without_rewinding_weights_go_on_from_where_they_are() -> None:
    training = Training(config(schedule="iterative", final_sparsity=0.5))
    training.update(850)
    assert training.pruner.event == "pruned"
    assert training.optimizer.state
    assert training.pruner.state_dict()["rewind_to"] is None


def test_a_report_is_numbers_and_the_event() -> None:
    """TensorBoard shows numbers in nested dictionaries."""
    training = Training(config(schedule="plateau", threshold=0.5))
    training.update(200)
    report = training.pruner.report()
    flat = {**report, **report.pop("layers"), **report.pop("events")}
    texts = [key for key, value in flat.items() if not isinstance(value, dict | int | float)]
    assert texts == ["event"]
    assert {"patience_left", "plateau_step", "threshold", "target_sparsity"} <= report.keys()


common = {
    "final_sparsity": st.floats(0.0, 0.95),
    "critic_final_sparsity": st.floats(0.0, 0.95),
    "scope": st.sampled_from(get_args(Scope)),
    "window": st.integers(1, 4),
}
configs = st.one_of(
    st.builds(
        config,
        **common,
        schedule=st.sampled_from([s for s in get_args(Schedule) if s != "iterative"]),
        criterion=st.sampled_from(get_args(Criterion)),
        damage=st.just(DAMAGE),
    ),
    st.builds(
        config,
        **common,
        schedule=st.just("iterative"),
        round_share=st.floats(0.1, 0.6),
        rewind_to=st.sampled_from([None, 0.0, 0.1]),
    ),
    st.builds(regrowing, st.sampled_from(["set", "rigl"]), **common),
)


class Life(RuleBasedStateMachine):
    """Whatever happens, in whatever order: masked weights are zero and counts are exact."""

    @initialize(config=configs)
    def begin(self, config: PruningConfig) -> None:
        self.training = Training(config)
        self.regrew = False
        self.saved: list[tuple[PruningConfig, bytes, dict[str, torch.Tensor]]] = []

    @rule(env_steps=st.integers(1, 250), steps=st.integers(0, 3))
    def update(self, env_steps: int, steps: int) -> None:
        training, pruner = self.training, self.training.pruner
        before = {names: training.masked(names) for names in (POLICY, CRITIC)}
        # A regrowing network's first masks are drawn: nothing need be known.
        dense = not any(before.values())
        drawn = pruner.config.regrow is not None and pruner.standing.anchor is None and dense
        criterion = pruner.config.criterion
        knows = drawn or pruner.gatherer.has([READS[criterion]] if criterion in READS else [])
        training.update(env_steps, steps)
        extent = pruner.extent
        assert extent is not None
        self.regrew |= pruner.event == "regrown"
        if pruner.event == "rolled_back":
            assert training.masked(POLICY) <= before[POLICY]
        for names, sparsity, n in (
            (POLICY, extent.sparsity, 30),
            (CRITIC, extent.critic_sparsity, 20),
        ):
            wanted = round(sparsity * n) if knows else 0
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
        found, expected = clone.snapshot(), self.training.snapshot()
        # Another criterion gathers other statistics.
        assert all(name.startswith("s.") for name in found.keys() ^ expected.keys())
        assert all(torch.equal(found[n], expected[n]) for n in found.keys() & expected.keys())
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
            masked, critic_masked = self.training.masked(POLICY), self.training.masked(CRITIC)
            # A weight that has just come back is still zero, though no longer masked.
            assert report["zeros"] == masked or (self.regrew and report["zeros"] > masked)
            assert report["critic_sparsity"] == critic_masked / 20 or self.regrew


TestLife = Life.TestCase
TestLife.settings = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    stateful_step_count=25,
    phases=[Phase.generate],
)


@pytest.mark.parametrize(
    "how",
    [
        {"final_sparsity": None, "threshold": 0.3},
        {"final_sparsity": 0.5, "critic_final_sparsity": 0.4},
        {"final_sparsity": None, "threshold": 1e6},
    ],
    ids=str,
)
def test_held_masks_stay_whatever_becomes_of_the_scores(how):
    training = Training(PruningConfig(schedule="constant", horizon=HORIZON, **how))
    training.update(1, steps=0)
    masks = copy.deepcopy(training.pruner.masks)
    assert not all(bool(mask.all()) for mask in masks.values())
    training.pruner.freeze_masks()
    for _ in range(5):
        with torch.no_grad():
            for weight in training.pruner.all_weights.values():
                weight.mul_(0.5)
        training.update(1)
        assert all(torch.equal(training.pruner.masks[name], masks[name]) for name in masks)
