"""First weights for the inputs that are left: as if the network had been built without the others.

Initial weights are drawn for the number of inputs of a unit. One that keeps k of n of them would begin
with k ÷ n of the variance that its layer was meant to have; Evci et al. 2022 ("Gradient flow in sparse
neural networks and how lottery tickets win", arXiv 2010.03533) scale each unit by its own k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

# Of the squared gain: how far an orthogonal matrix's products may be off.
_ORTHOGONAL = 1e-4


@torch.no_grad()
def fit_initial_(
    module: nn.Module,
    masks: Mapping[str, Tensor],
    biases: Mapping[str, Tensor] | None = None,
    constants: Iterable[float] = (),
) -> None:
    """Rescales a masked network's initial weights to those of a network of the remaining size, in place.

    A unit's weights are multiplied by √(n ÷ k), where k of its n inputs are kept, and so is its bias
    where torch may have drawn it for n inputs; one that lies beyond, or is one of the constants, was set
    and stays. An orthogonal
    matrix of which whole rows and columns are left becomes orthogonal again, with the same gain.

    Args:
        module: The network, with its first weights.
        masks: Masks of its weight matrices by parameter name.
        biases: Masks of biases that go with their units: those become 0.
        constants: Values that biases were initialised to on purpose.
    """
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        if bool(mask.all()) or not bool(mask.any()):
            continue
        weight = parameters[name]
        gain = _orthogonal_gain(weight)
        block = _block(mask) if gain else None
        if block is not None:
            _make_orthogonal_(weight, *block, gain)
            continue
        layer, _, own = name.rpartition(".")
        bias = parameters.get(f"{layer}.{own.replace('weight', 'bias')}".lstrip("."))
        _scale_(weight, bias, mask, constants)
    for name, mask in (biases or {}).items():
        parameters[name].masked_fill_(~mask.to(parameters[name].device), 0.0)


def _scale_(weight: Tensor, bias: Tensor | None, mask: Tensor, constants: Iterable[float]) -> None:
    inputs, kept = mask[0].numel(), mask.flatten(1).sum(1)
    factor = torch.where(kept > 0, inputs / kept.clamp_min(1), 1.0).sqrt().to(weight.dtype)
    # Recurrent layers are drawn for their hidden units, whatever they read.
    most = max(1.0 / math.sqrt(inputs), float(weight.abs().max()))
    weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))
    if bias is not None and bias.shape == factor.shape:
        drawn = bias.abs() <= most
        for constant in constants:
            # Rounded as the bias was.
            drawn &= bias != torch.tensor(constant).to(bias)
        bias.mul_(torch.where(drawn, factor, torch.ones_like(factor)))


def _orthogonal_gain(weight: Tensor) -> float:
    """The gain with which a matrix is orthogonal; 0 where it isn't, or is a single row or column."""
    plane = weight.detach().flatten(1).double()
    if min(plane.shape) < 2:
        return 0.0
    product = plane @ plane.T if plane.shape[0] <= plane.shape[1] else plane.T @ plane
    squared = float(product.diagonal().mean())
    off = product - squared * torch.eye(len(product), dtype=product.dtype, device=product.device)
    return math.sqrt(squared) if float(off.abs().max()) < _ORTHOGONAL * squared else 0.0


def _block(mask: Tensor) -> tuple[Tensor, Tensor] | None:
    """The rows and columns that are kept, where all that is kept is where they cross."""
    plane = mask.flatten(1)
    rows, columns = plane.any(1), plane.any(0)
    whole = int(plane.sum()) == int(rows.sum()) * int(columns.sum())
    return (rows, columns) if whole else None


def _make_orthogonal_(weight: Tensor, rows: Tensor, columns: Tensor, gain: float) -> None:
    """Makes a block of a matrix orthogonal: the factor Q of its QR decomposition."""
    plane = weight.flatten(1)
    block = plane[rows][:, columns].double()
    tall = block if block.shape[0] >= block.shape[1] else block.T
    q, r = torch.linalg.qr(tall)
    # Without the signs Q would not be uniform (Mezzadri 2007, arXiv math-ph/0609050).
    q = q * r.diagonal().sign()
    found = (q if block.shape[0] >= block.shape[1] else q.T) * gain
    kept = rows[:, None] & columns[None, :]
    plane = plane.clone()
    plane[kept] = found.to(weight.dtype).flatten()
    weight.copy_(plane.view_as(weight))
