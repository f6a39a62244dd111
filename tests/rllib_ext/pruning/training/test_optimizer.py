"""What pruning does to the optimizer's moments."""

import copy

import pytest
import torch
from torch import nn

from rllib_ext.pruning.training.optimizer import (
    clear_moments_,
    copy_moments,
    restore_moments_,
    start_moments_,
)


def trained(optimizer_class: type[torch.optim.Optimizer], **options: float):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = optimizer_class(module.parameters(), lr=1e-2, **options)
    inputs = torch.randn(16, 4)
    step(module, optimizer, inputs)
    step(module, optimizer, inputs)
    return module, optimizer, inputs


def step(module: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor) -> None:
    optimizer.zero_grad()
    module(inputs).pow(2).mean().backward()
    optimizer.step()


def half_masks(module: nn.Module) -> dict[str, torch.Tensor]:
    masks = {}
    for name, parameter in module.named_parameters():
        if parameter.dim() == 2:
            masks[name] = torch.arange(parameter.numel()).view_as(parameter) % 2 == 0
    return masks


@pytest.mark.parametrize(
    ("optimizer_class", "options", "moments"),
    [
        (torch.optim.Adam, {}, ["exp_avg", "exp_avg_sq"]),
        (torch.optim.Adam, {"amsgrad": True}, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
        (torch.optim.AdamW, {}, ["exp_avg", "exp_avg_sq"]),
        (torch.optim.SGD, {"momentum": 0.9}, ["momentum_buffer"]),
        (torch.optim.RMSprop, {"momentum": 0.9}, ["square_avg", "momentum_buffer"]),
    ],
)
def test_moments_of_pruned_weights_become_zero_and_others_stay(
    optimizer_class, options, moments
) -> None:
    module, optimizer, _ = trained(optimizer_class, **options)
    weights, masks = dict(module.named_parameters()), half_masks(module)
    before = copy_moments([optimizer], weights)[0]
    clear_moments_([optimizer], weights, masks)
    for name, parameter in weights.items():
        for key in moments:
            value = optimizer.state[parameter][key]
            expected = before[name][key]
            if name in masks:
                expected = torch.where(masks[name], expected, 0.0)
            assert torch.equal(value, expected)


def test_adams_step_count_is_no_moment() -> None:
    """A weight of shape () or (1,) would otherwise look like one."""
    module, optimizer, _ = trained(torch.optim.Adam)
    clear_moments_([optimizer], dict(module.named_parameters()), half_masks(module))
    assert all(float(state["step"]) == 2.0 for state in optimizer.state.values())


def test_cleared_moments_with_masked_gradients_leave_pruned_weights_alone() -> None:
    module, optimizer, inputs = trained(torch.optim.Adam)
    weights, masks = dict(module.named_parameters()), half_masks(module)

    def masked_step() -> float:
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name].masked_fill_(~mask, 0.0)
        optimizer.zero_grad()
        module(inputs).pow(2).mean().backward()
        for name, mask in masks.items():
            weights[name].grad.mul_(mask)
        optimizer.step()
        return max(float(weights[n].detach()[~m].abs().max()) for n, m in masks.items())

    assert masked_step() > 1e-3
    clear_moments_([optimizer], weights, masks)
    assert [masked_step() for _ in range(5)] == [0.0] * 5


def test_an_optimizer_that_has_not_stepped_is_left_alone() -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    clear_moments_([optimizer], {"weight": module.weight}, {"weight": torch.eye(2) > 0})
    assert not optimizer.state


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.SGD])
def test_restored_moments_are_equal_bit_by_bit_and_training_repeats_itself(optimizer_class) -> None:
    options = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
    module, optimizer, inputs = trained(optimizer_class, **options)
    parameters = dict(module.named_parameters())
    moments = copy_moments([optimizer], parameters)
    values = {name: p.detach().clone() for name, p in parameters.items()}

    def train_on() -> dict[str, torch.Tensor]:
        for _ in range(3):
            step(module, optimizer, inputs)
        return {name: p.detach().clone() for name, p in parameters.items()}

    first = train_on()
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)
    restore_moments_([optimizer], parameters, moments)
    back = copy_moments([optimizer], parameters)
    for name in parameters:
        assert back[0][name].keys() == moments[0][name].keys()
        for key, value in moments[0][name].items():
            assert torch.equal(torch.as_tensor(back[0][name][key]), torch.as_tensor(value))
    second = train_on()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_copies_do_not_follow_the_optimizer() -> None:
    module, optimizer, inputs = trained(torch.optim.Adam)
    moments = copy_moments([optimizer], dict(module.named_parameters()))
    kept = moments[0]["0.weight"]["exp_avg"].clone()
    step(module, optimizer, inputs)
    assert torch.equal(moments[0]["0.weight"]["exp_avg"], kept)


def test_a_parameter_that_had_no_moments_has_none_again() -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    parameters = dict(module.named_parameters())
    moments = copy_moments([optimizer], parameters)
    step(module, optimizer, torch.ones(1, 2))
    restore_moments_([optimizer], parameters, moments)
    assert not optimizer.state


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.SGD])
def test_a_state_can_be_come_back_to_more_than_once(optimizer_class) -> None:
    """Also by an optimizer that had forgotten: it must not train on in the copies."""
    options = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
    module, optimizer, inputs = trained(optimizer_class, **options)
    parameters = dict(module.named_parameters())
    moments = copy_moments([optimizer], parameters)
    kept = copy.deepcopy(moments)
    for _ in range(2):
        optimizer.state.clear()
        restore_moments_([optimizer], parameters, moments)
        step(module, optimizer, inputs)
        step(module, optimizer, inputs)
    for name, by_key in kept[0].items():
        for key, value in by_key.items():
            assert torch.equal(torch.as_tensor(moments[0][name][key]), torch.as_tensor(value))


def test_what_the_copied_state_did_not_hold_is_gone_after_restoring() -> None:
    module, optimizer, _ = trained(torch.optim.SGD)
    parameters = dict(module.named_parameters())
    moments = [{name: {"momentum_buffer": None} for name in parameters}]
    for parameter in parameters.values():
        optimizer.state[parameter]["exp_avg"] = torch.ones_like(parameter)
    restore_moments_([optimizer], parameters, moments)
    assert all(set(optimizer.state[p]) == {"momentum_buffer"} for p in parameters.values())


@pytest.mark.parametrize(
    ("optimizer_class", "key"),
    [
        (torch.optim.Adagrad, "sum"),
        (torch.optim.Adamax, "exp_inf"),
        (torch.optim.RMSprop, "square_avg"),
    ],
)
def test_regrown_weights_take_the_scale_of_the_kept_in_other_optimizers(
    optimizer_class, key
) -> None:
    module, optimizer, _ = trained(optimizer_class)
    weights, masks = dict(module.named_parameters()), half_masks(module)
    grown = {name: ~mask for name, mask in masks.items()}
    start_moments_([optimizer], weights, grown, masks)
    for name, mask in masks.items():
        scale = optimizer.state[weights[name]][key]
        assert torch.allclose(scale[~mask], scale[mask].mean())


def regrown(module: nn.Module, optimizer: torch.optim.Optimizer, *, fresh: bool) -> float:
    """Regrows half of a long trained layer; how far its first step goes, in learning rates."""
    weights, masks = dict(module.named_parameters()), half_masks(module)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(2000):
        optimizer.zero_grad()
        (module(inputs) - inputs[:, :2]).pow(2).mean().backward()
        for name, mask in masks.items():
            weights[name].grad.mul_(mask)
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name].mul_(mask)
    grown = {name: ~mask for name, mask in masks.items()}
    if fresh:
        start_moments_([optimizer], weights, grown, masks)
    optimizer.zero_grad()
    (module(inputs) - inputs[:, :2]).pow(2).mean().backward()
    optimizer.step()
    moved = weights["0.weight"].detach()[grown["0.weight"]].abs().max()
    return float(moved) / optimizer.param_groups[0]["lr"]


def test_without_fresh_moments_a_regrown_weight_leaps_and_with_them_it_does_not() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    twin = copy.deepcopy(module)
    leap = regrown(module, torch.optim.Adam(module.parameters(), lr=1e-3), fresh=False)
    step_with = regrown(twin, torch.optim.Adam(twin.parameters(), lr=1e-3), fresh=True)
    assert leap == pytest.approx(0.1 / 0.001**0.5, rel=0.1)
    assert step_with < leap / 2


def test_fresh_moments_are_the_mean_of_the_kept_and_no_momentum() -> None:
    module, optimizer, _ = trained(torch.optim.Adam, amsgrad=True)
    weights, masks = dict(module.named_parameters()), half_masks(module)
    before = copy_moments([optimizer], weights)[0]
    grown = {name: ~mask for name, mask in masks.items()}
    start_moments_([optimizer], weights, grown, masks)
    for name, mask in masks.items():
        state = optimizer.state[weights[name]]
        assert bool((state["exp_avg"][~mask] == 0).all())
        for key in ("exp_avg_sq", "max_exp_avg_sq"):
            mean = before[name][key][mask].mean()
            assert torch.equal(state[key], torch.where(mask, before[name][key], mean))
        assert torch.equal(state["exp_avg"][mask], before[name]["exp_avg"][mask])


def test_a_layer_that_kept_nothing_starts_from_zero() -> None:
    module, optimizer, _ = trained(torch.optim.Adam)
    weights = dict(module.named_parameters())
    everything = torch.ones_like(module[0].weight, dtype=torch.bool)
    start_moments_([optimizer], weights, {"0.weight": everything}, {"0.weight": ~everything})
    assert not optimizer.state[module[0].weight]["exp_avg_sq"].any()
