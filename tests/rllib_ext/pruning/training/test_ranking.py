"""Layers that don't train under criteria that read gradients; units of scores; regrown weights."""

import logging

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import Statistics, score
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.pruning.training.ranking import at_rest, comparable, unscored
from rllib_ext.pruning.training.regrow import sprout_

HORIZON = 1000
FROZEN_WEIGHTS, TRAINED_WEIGHTS = 6 * 12, 12 * 10 + 10 * 3


class Pretrained(nn.Module):
    """A frozen encoder, as somebody loads one, before layers that train."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 12)
        self.hidden, self.pi = nn.Linear(12, 10), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pi(self.hidden(self.encoder(x).tanh()).tanh())


class Detached(Pretrained):
    """Its encoder's gradient is cut off instead."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pi(self.hidden(self.encoder(x).tanh().detach()).tanh())


def freeze(module: nn.Module, how: str) -> torch.optim.Optimizer:
    rest = [*module.hidden.parameters(), *module.pi.parameters()]
    if how == "requires_grad":
        module.encoder.requires_grad_(False)
    if how == "lr":
        groups = [{"params": list(module.encoder.parameters()), "lr": 0.0}, {"params": rest}]
        return torch.optim.Adam(groups, lr=0.01)
    if how == "left_out":
        return torch.optim.Adam(rest, lr=0.01)
    return torch.optim.Adam(module.parameters(), lr=0.01)


def pruned(how: str, probe_for, *, updates: int = 10, zeroed: bool = False, **changes) -> Pruner:
    torch.manual_seed(0)
    module = Detached() if how == "detached" else Pretrained()
    optimizer = freeze(module, how)
    values = {"begin": 0.0, "end": 1.0, "schedule": "linear", "window": 4, "horizon": HORIZON}
    pruner = Pruner(
        module,
        lambda: [optimizer],
        PruningConfig(**{**values, "final_sparsity": 0.5, **changes}),
        graph=lambda: trace(module, probe_for((6,))),
    )
    for step in range(updates):
        pruner.before_update((step + 1) * HORIZON // updates)
        for _ in range(5):
            x = torch.randn(16, 6)
            optimizer.zero_grad()
            (module(x) - x[:, :3]).square().mean().backward()
            if zeroed:
                module.encoder.weight.grad.zero_()
            gradients = [(p, p.grad) for p in module.parameters()]
            pruner.observe_gradients(gradients)
            pruner.mask_gradients_(gradients)
            optimizer.step()
            pruner.enforce_()
    return pruner


def lost(pruner: Pruner, name: str) -> float:
    return float((~pruner.masks[name]).float().mean())


FREEZING = [
    ("gradient", "requires_grad", "requires_grad is False"),
    ("movement", "requires_grad", "requires_grad is False"),
    ("gradient", "detached", "it received no gradient"),
    ("movement", "detached", "it received no gradient"),
    ("movement", "lr", "its learning rate is 0"),
    ("movement", "left_out", "its learning rate is 0"),
]


@pytest.mark.parametrize(("criterion", "how", "reason"), FREEZING)
@pytest.mark.parametrize("final", [0.3, 0.5, 0.9])
def test_a_layer_that_does_not_train_loses_the_share_of_the_others(
    probe_for, caplog, criterion, how, reason, final
) -> None:
    with caplog.at_level(logging.WARNING):
        pruner = pruned(how, probe_for, criterion=criterion, final_sparsity=final)
    total = FROZEN_WEIGHTS + TRAINED_WEIGHTS
    assert sum(int((~m).sum()) for m in pruner.masks.values()) == round(final * total)
    assert lost(pruner, "encoder.weight") == pytest.approx(final, abs=0.03)
    # By magnitude: the weights do not move, so the masks nest in one ranking.
    mask = pruner.masks["encoder.weight"]
    torch.manual_seed(0)
    size = Pretrained().encoder.weight.detach().abs()
    assert float(size[~mask].max()) <= float(size[mask].min())
    assert pruner.report()["by_magnitude"] == {"encoder.weight": reason}
    said = [r.getMessage() for r in caplog.records if "by magnitude" in r.getMessage()]
    assert len(said) == 1
    assert f"encoder.weight ({reason})" in said[0]
    assert "exclude" in said[0]


def test_gradients_that_a_user_zeroes_count_as_none(probe_for) -> None:
    pruner = pruned("not", probe_for, criterion="gradient", zeroed=True)
    assert lost(pruner, "encoder.weight") == pytest.approx(0.5, abs=0.03)


def test_a_layer_at_rate_0_still_goes_by_what_the_loss_would_lose(probe_for) -> None:
    pruner = pruned("lr", probe_for, criterion="gradient")
    assert pruner.report()["by_magnitude"] == {}
    assert 0.0 < lost(pruner, "encoder.weight") < 1.0


@pytest.mark.parametrize("criterion", ["gradient", "movement", "magnitude", "activation"])
def test_where_all_layers_train_none_goes_otherwise_than_asked(
    probe_for, caplog, criterion
) -> None:
    pruner = pruned("not", probe_for, criterion=criterion, final_sparsity=0.95)
    assert pruner.report()["by_magnitude"] == {}
    assert not caplog.records


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
@pytest.mark.parametrize("criterion", ["gradient", "movement"])
def test_units_of_a_frozen_layer_are_not_the_first_to_go(probe_for, criterion, scope) -> None:
    pruner = pruned(
        "requires_grad", probe_for, criterion=criterion, granularity="neuron", scope=scope
    )
    assert 0.0 < lost(pruner, "encoder.weight") < 0.8
    assert lost(pruner, "hidden.weight") < 0.9


@pytest.mark.parametrize("unit", ["absolute", "std"])
def test_a_threshold_takes_the_same_share_of_a_frozen_layer(probe_for, unit) -> None:
    reference = pruned("requires_grad", probe_for, criterion="gradient", updates=1, end=0.5)
    taylor = reference.gatherer.values("taylor")
    scale = torch.cat([taylor["hidden.weight"].flatten(), taylor["pi.weight"].flatten()]).median()
    pruner = pruned(
        "requires_grad",
        probe_for,
        criterion="gradient",
        schedule="one_shot",
        final_sparsity=None,
        threshold=0.7 if unit == "std" else float(scale),
        threshold_unit=unit,
        updates=2,
    )
    trained = sum(int((~pruner.masks[n]).sum()) for n in ("hidden.weight", "pi.weight"))
    assert 0 < trained < TRAINED_WEIGHTS
    assert lost(pruner, "encoder.weight") == pytest.approx(trained / TRAINED_WEIGHTS, abs=0.05)


def test_where_nothing_is_scored_magnitudes_are_the_scores() -> None:
    weights = {"a": torch.tensor([[1.0, -3.0]]), "b": torch.tensor([[2.0]])}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    nothing = Statistics(taylor={name: torch.zeros_like(w) for name, w in weights.items()})
    assert set(unscored("gradient", masks, nothing)) == {"a", "b"}
    scores = comparable("gradient", weights, masks, nothing, pools=[["a"], ["b"]], deviations=False)
    assert scores["a"].tolist() == [[1.0, 3.0]]
    assert scores["b"].tolist() == [[2.0]]


def test_a_layer_that_lost_everything_is_not_said_to_be_frozen() -> None:
    gone = {"a": torch.zeros(1, 2, dtype=torch.bool)}
    assert unscored("gradient", gone, Statistics(taylor={"a": torch.zeros(1, 2)})) == {}


def test_a_weight_that_one_of_several_optimizers_moves_is_not_at_rest() -> None:
    moved, still = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizers = [torch.optim.SGD([moved, still], lr=0.0), torch.optim.SGD([moved], lr=0.1)]
    weights = {"moved": moved, "still": still}
    assert at_rest(weights, optimizers) == {"still": "its learning rate is 0"}
    assert at_rest(weights, []) == {}


# Units of a threshold.


@pytest.mark.parametrize("criterion", ["gradient", "movement", "magnitude_l2", "random"])
def test_a_threshold_in_deviations_does_not_hang_on_the_scale_of_weights_or_of_the_loss(
    criterion,
) -> None:
    """As a layer at a hundredth of the size with its gradients would be: the same network."""
    torch.manual_seed(0)
    weights = {"a": torch.randn(20, 20)}
    masks = {"a": torch.ones(20, 20, dtype=torch.bool)}
    found = []
    for weight_scale, loss_scale in ((1.0, 1.0), (0.01, 1.0), (1.0, 1e-6)):
        statistics = Statistics(
            seed=1,
            taylor={"a": torch.arange(400.0).view(20, 20) * loss_scale},
            movement={"a": (torch.arange(400.0).view(20, 20) - 150) * loss_scale},
        )
        scaled = {"a": weights["a"] * weight_scale}
        found.append(
            comparable(criterion, scaled, masks, statistics, pools=[scaled], deviations=True)["a"]
        )
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])
    assert float(found[0].std(correction=0)) == pytest.approx(1.0)


# Drawn scores.


def test_actor_and_critic_of_one_shape_get_different_random_masks() -> None:
    class TwoPaths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pi, self.vf = nn.Linear(6, 8), nn.Linear(6, 8)

    config = PruningConfig(
        final_sparsity=0.5,
        critic_final_sparsity=0.5,
        schedule="constant",
        horizon=10,
        criterion="random",
    )
    pruner = Pruner(TwoPaths(), list, config, critic_prefixes=["vf"], seed=3)
    pruner.before_update(1)
    masks = pruner.masks
    agreeing = float((masks["pi.weight"] == masks["vf.weight"]).float().mean())
    assert 0.2 < agreeing < 0.8


def test_a_layers_random_scores_do_not_hang_on_what_it_is_scored_with() -> None:
    weights = {"a": torch.ones(3, 4), "b": torch.ones(3, 4)}
    both = score("random", weights, Statistics(seed=5))
    alone = score("random", {"b": weights["b"]}, Statistics(seed=5))
    assert torch.equal(both["b"], alone["b"])
    assert not torch.equal(both["a"], both["b"])


# Regrowth.


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_regrown_weights_count_as_kept_even_where_no_gradient_reaches_them(probe_for, rule) -> None:
    """At 90 % most units are read by nothing, so that no gradient moves what grows into them."""
    pruner = pruned(
        "not",
        probe_for,
        schedule="constant",
        final_sparsity=0.9,
        regrow=rule,
        regrow_share=0.5,
        regrow_interval=0.1,
    )
    assert pruner.events["regrown"] >= 3
    report = pruner.report()
    assert report["zeros"] == round(0.9 * report["total_params"])
    assert report["zeros"] == sum(int((~mask).sum()) for mask in pruner.masks.values())


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_regrowth_leaves_the_masks_of_a_frozen_layer_alone(probe_for, rule) -> None:
    values = {"schedule": "constant", "regrow": rule, "regrow_share": 0.5, "regrow_interval": 0.1}
    first = pruned("requires_grad", probe_for, updates=1, **values)
    start = first.masks["encoder.weight"]
    later = pruned("requires_grad", probe_for, updates=10, **values)
    assert later.events["regrown"] >= 3
    assert torch.equal(later.masks["encoder.weight"], start)
    assert not torch.equal(later.masks["hidden.weight"], first.masks["hidden.weight"])


def test_what_grows_changes_no_output() -> None:
    torch.manual_seed(0)
    net = Pretrained()
    x = torch.randn(32, 6)
    grown = {name: torch.rand(w.shape) < 0.4 for name, w in net.named_parameters() if w.dim() == 2}
    kept = {name: ~new for name, new in grown.items()}
    weights = dict(net.named_parameters())
    with torch.no_grad():
        for name, new in grown.items():
            weights[name][new] = 0.0
        before = net(x)
        sprout_(weights, grown, kept)
        after = net(x)
    assert all(bool(weights[name][new].all()) for name, new in grown.items())
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
