"""Dynamic sparse training at constant sparsity: weak weights go, others come in their place. Pure.

SET grows at random (Mocanu et al. 2018, arXiv 1707.04780); RigL where the loss would fall fastest
(Evci et al. 2020, arXiv 1911.11134). Both drop by magnitude here, as in the comparison of the RigL
paper, and the share that is exchanged decays by a cosine (`schedules.decayed_share`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.masks import Masks

# Where a weight of each layer could grow, given what is kept.
Places = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def exchange(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    growth: Mapping[str, Tensor],
    share: float,
    places: Places | None = None,
) -> Masks:
    """Drops a share of each layer's kept weights and grows as many, layer by layer.

    round(share · kept) of the lowest |w| go, then the highest growth scores come in among all that are
    not kept then; a weight just dropped may win its place back, and is then as if nothing had happened.
    Ties go by position.

    Args:
        weights: Weights by layer.
        masks: Masks by the same names.
        growth: Growth scores of the same names and shapes, not NaN.
        share: Share of the kept weights that is exchanged, in [0, 1].
        places: Returns where weights may grow, given the masks of the remaining weights; None means
            everywhere.

    Returns:
        New masks that keep exactly as many weights of each layer; fewer where there are fewer places.
    """
    wanted = {name: int(mask.sum()) for name, mask in masks.items()}
    return grow(survivors(weights, masks, share), growth, wanted, places)


def survivors(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], share: float) -> Masks:
    """Masks without the weights of each layer that give way: see `exchange`."""
    return {name: _survivors(weights[name].detach(), mask, share) for name, mask in masks.items()}


def grow(
    masks: Mapping[str, Tensor],
    growth: Mapping[str, Tensor],
    wanted: Mapping[str, int],
    places: Places | None = None,
) -> Masks:
    """Adds the weights of the highest growth scores until each layer keeps as many as are wanted.

    Args:
        masks: Masks by layer.
        growth: Growth scores of the same names and shapes, not NaN.
        wanted: Number of weights that each layer is to have afterwards.
        places: Returns where weights may grow, given the masks; None means everywhere.
    """
    free = None if places is None else places(masks)
    grown = {}
    for name, mask in masks.items():
        kept = mask.flatten()
        open_ = ~kept if free is None else ~kept & free[name].flatten()
        count = min(max(0, wanted[name] - int(kept.sum())), int(open_.sum()))
        score = torch.where(open_, growth[name].flatten(), -torch.inf)
        new = kept.clone()
        new[torch.argsort(score, descending=True, stable=True)[:count]] = True
        grown[name] = new.view_as(mask)
    return grown


def _survivors(weight: Tensor, mask: Tensor, share: float) -> Tensor:
    kept = mask.flatten()
    magnitude = torch.where(kept, weight.abs().flatten(), torch.inf)
    survivors = kept.clone()
    weakest = torch.argsort(magnitude, stable=True)
    survivors[weakest[: round(share * int(kept.sum()))]] = False
    return survivors.view_as(mask)


def random_growth(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Growth scores for SET: uniform in [0, 1), fixed by the seed."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in weights.items()
    }


def gradient_growth(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Growth scores for RigL: |∂L/∂w|, of pruned weights too."""
    return {name: gradient.abs() for name, gradient in gradients.items()}


# Of a layer's mean |w|: below what its outputs can tell apart.
_SPROUT = 1e-6


@torch.no_grad()
def sprout_(
    weights: Mapping[str, Tensor], grown: Mapping[str, Tensor], kept: Mapping[str, Tensor]
) -> None:
    """Gives weights that have just come back a value next to zero, in place.

    The network's outputs stay as they are. At zero exactly, a weight whose unit passes no gradient –
    as where all that reads it is pruned – would go on counting as pruned.

    Args:
        weights: Weights by layer.
        grown: True where a weight has just come back, by the same names.
        kept: True where a weight was there all along, by the same names.
    """
    for name, new in grown.items():
        settled = weights[name][kept[name]].abs()
        typical = float(settled.mean()) if settled.numel() else 0.0
        weights[name][new] = _SPROUT * (typical or 1.0)
