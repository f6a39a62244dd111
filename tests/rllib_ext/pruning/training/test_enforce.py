"""Masked weights stay at zero while an optimizer runs."""

import torch
from torch import nn

from rllib_ext.pruning.training.enforce import Enforcer


def masked_layer() -> tuple[nn.Linear, torch.Tensor, Enforcer]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    mask = torch.arange(12).view(3, 4) % 3 != 0
    enforcer = Enforcer({"weight": layer.weight})
    enforcer.take({"weight": mask})
    return layer, mask, enforcer


def test_weights_are_zero_after_every_step_although_momentum_moves_them() -> None:
    layer, mask, enforcer = masked_layer()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    moved = 0.0
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        moved += float(layer.weight.detach()[~mask].abs().max())
        enforcer.enforce_()
        assert not layer.weight.detach()[~mask].any()
        assert bool(layer.weight.detach()[mask].all())
    assert moved > 0.0


def test_masked_gradients_do_not_count_in_the_norm() -> None:
    layer, mask, enforcer = masked_layer()
    gradient = torch.ones_like(layer.weight)
    enforcer.mask_gradients_([(layer.weight, gradient), (layer.bias, torch.ones(3))])
    assert torch.equal(gradient, mask.float())
    assert float(gradient.norm()) < 12**0.5


def test_full_masks_touch_nothing() -> None:
    layer = nn.Linear(4, 3)
    enforcer = Enforcer({"weight": layer.weight})
    enforcer.take({"weight": torch.ones(3, 4, dtype=torch.bool)})
    gradient = torch.full((3, 4), float("nan"))
    enforcer.mask_gradients_([(layer.weight, gradient)])
    assert bool(gradient.isnan().all())


def test_the_latest_masks_hold() -> None:
    layer, mask, enforcer = masked_layer()
    enforcer.take({"weight": ~mask})
    enforcer.enforce_()
    assert not layer.weight.detach()[mask].any()
    assert bool(layer.weight.detach()[~mask].all())


def test_applying_masks_clears_what_is_not_a_number() -> None:
    layer, mask, enforcer = masked_layer()
    with torch.no_grad():
        layer.weight.fill_(float("nan"))
    enforcer.apply_()
    assert not layer.weight.detach()[~mask].any()
