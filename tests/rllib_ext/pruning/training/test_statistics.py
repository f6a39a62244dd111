"""What is gathered in training: means, sums, and nothing that isn't asked for."""

import pickle

import pytest
import torch
from torch import nn

from rllib_ext.pruning.training.statistics import Average, Gatherer


def network() -> tuple[nn.Module, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return module, {n: p for n, p in module.named_parameters() if p.dim() == 2}


def gradients(module: nn.Module, seed: int) -> list[tuple[nn.Parameter, torch.Tensor | None]]:
    generator = torch.Generator().manual_seed(seed)
    return [(p, torch.randn(p.shape, generator=generator)) for p in module.parameters()]


def test_a_mean_is_exact_over_its_window_and_exponential_afterwards() -> None:
    average = Average(window=4)
    values = [3.0, 1.0, 4.0, 1.0]
    for value in values:
        average.add_(torch.tensor([value]))
    assert average.value.item() == pytest.approx(2.25)
    average.add_(torch.tensor([10.25]))
    assert average.value.item() == pytest.approx(2.25 + (10.25 - 2.25) / 4)
    for _ in range(200):
        average.add_(torch.tensor([7.0]))
    assert average.value.item() == pytest.approx(7.0)


def test_a_window_of_one_is_the_last_value_and_of_none_the_sum() -> None:
    last, total = Average(window=1), Average(window=0)
    for value in (1.0, 5.0, -2.0):
        last.add_(torch.tensor([value]))
        total.add_(torch.tensor([value]))
    assert last.value.item() == -2.0
    assert total.value.item() == 4.0


def test_values_that_are_not_finite_are_left_out() -> None:
    average = Average(window=8)
    for value in (1.0, float("nan"), float("inf"), 3.0):
        average.add_(torch.tensor([value, 0.0]))
    assert average.value.tolist() == [2.0, 0.0]
    assert average.seen == 2


def test_an_average_does_not_share_memory_with_what_it_is_given() -> None:
    average, given = Average(window=2), torch.ones(2)
    average.add_(given)
    given.zero_()
    assert average.value.tolist() == [1.0, 1.0]


def test_taylor_movement_and_gradient_are_by_their_formulas() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["taylor", "movement", "mean_gradient"], window=8)
    batches = [gradients(module, seed) for seed in range(3)]
    for batch in batches:
        gatherer.observe_gradients(batch)
    for name, weight in weights.items():
        seen = [next(g for p, g in batch if p is weight) for batch in batches]
        products = torch.stack([weight.detach() * g for g in seen])
        assert torch.allclose(gatherer.values("taylor")[name], products.abs().mean(0))
        assert torch.allclose(gatherer.values("movement")[name], -products.sum(0))
        assert torch.allclose(gatherer.values("mean_gradient")[name], torch.stack(seen).mean(0))


def test_movement_is_positive_where_a_step_leads_away_from_zero() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["movement"], window=1)
    before = {name: w.detach().clone() for name, w in weights.items()}
    batch = gradients(module, 0)
    gatherer.observe_gradients(batch)
    with torch.no_grad():
        for parameter, gradient in batch:
            parameter -= 1e-4 * gradient
    for name, weight in weights.items():
        grew = weight.detach().abs() > before[name].abs()
        assert torch.equal(gatherer.values("movement")[name] > 0, grew)


def test_it_says_of_which_kinds_something_was_seen() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["taylor", "activation"], window=4)
    assert gatherer.has([])
    assert not gatherer.has(["taylor"])
    gatherer.observe_gradients(gradients(module, 0))
    assert gatherer.has(["taylor"])
    assert not gatherer.has(["taylor", "activation"])
    module(torch.ones(1, 3))
    assert gatherer.has(["taylor", "activation"])


def test_a_layer_without_a_gradient_counts_as_zero() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["taylor"], window=4)
    gatherer.observe_gradients(
        [(weights["0.weight"], torch.ones(4, 3)), (weights["2.weight"], None)]
    )
    assert gatherer.has(["taylor"])
    assert not gatherer.values("taylor")["2.weight"].any()
    assert not gatherer.values("taylor")["2.weight"].requires_grad


def test_activations_are_averaged_over_forward_passes() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["activation"], window=8)
    first, second = torch.tensor([[1.0, -2.0, 0.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    module(first)
    module(second)
    assert gatherer.values("activation")["0.weight"].tolist() == [[2.0, 2.0, 0.0]]
    hidden = torch.stack([module[:2](x).detach().abs() for x in (first, second)]).mean(0)
    assert torch.allclose(gatherer.values("activation")["2.weight"], hidden)


def test_nothing_is_hooked_that_is_not_asked_for() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["taylor"], window=4)
    assert not any(layer._forward_hooks for layer in module.modules())
    assert gatherer.kinds == ("taylor",)


def test_statistics_travel_and_go_on_exactly() -> None:
    module, weights = network()
    kinds = ["taylor", "movement", "mean_gradient", "activation"]
    original = Gatherer(module, weights, kinds, window=3)
    for seed in range(5):
        original.observe_gradients(gradients(module, seed))
    module(torch.ones(2, 3))
    copy, copied_weights = network()
    restored = Gatherer(copy, copied_weights, kinds, window=3)
    restored.load_state_dict(pickle.loads(pickle.dumps(original.state_dict())))
    original.observe_gradients(gradients(module, 9))
    restored.observe_gradients(gradients(copy, 9))
    for kind in original.kinds:
        for name, value in original.values(kind).items():
            assert torch.equal(value, restored.values(kind)[name])


def test_a_saved_state_does_not_follow_the_training() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["movement"], window=3)
    gatherer.observe_gradients(gradients(module, 0))
    state = gatherer.state_dict()
    kept = state["movement"]["0.weight"][1].copy()
    gatherer.observe_gradients(gradients(module, 1))
    assert (state["movement"]["0.weight"][1] == kept).all()


def test_kinds_that_a_checkpoint_lacks_start_anew() -> None:
    module, weights = network()
    gatherer = Gatherer(module, weights, ["taylor"], window=3)
    gatherer.observe_gradients(gradients(module, 0))
    gatherer.load_state_dict(Gatherer(module, weights, ["movement"], window=3).state_dict())
    assert not gatherer.has(["taylor"])
