"""Scores that can be compared: in one unit, and for layers of which a criterion knows nothing too.

A layer that doesn't train has no gradients. Scored 0 it would go first and whole, however much the
network hangs on it; left alone it would leave its share to the layers that train. So its weights go by
magnitude, each with the score that a trained weight of the same rank has: at every sparsity, and below
every threshold, such a layer loses the share that the others lose together.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_ext.pruning.criteria import (
    READS,
    Scores,
    Statistics,
    Weights,
    in_layer_deviations,
    score,
)
from rllib_ext.pruning.training.optimizer import OptimizerLike

logger = logging.getLogger(__name__)

# Why a layer doesn't train.
FROZEN = "requires_grad is False"
AT_REST = "its learning rate is 0"
UNREACHED = "it received no gradient"


def at_rest(
    weights: Mapping[str, nn.Parameter], optimizers: Sequence[OptimizerLike]
) -> dict[str, str]:
    """Weights that no optimizer moves, each with the reason.

    Args:
        weights: By name.
        optimizers: All that could hold one of them; none: nothing is known of rates.
    """
    rates: dict[int, float] = {}
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        for parameter in group["params"]:
            rates[id(parameter)] = max(float(group["lr"]), rates.get(id(parameter), 0.0))
    found = {}
    for name, weight in weights.items():
        if not weight.requires_grad:
            found[name] = FROZEN
        elif optimizers and rates.get(id(weight), 0.0) == 0.0:
            found[name] = AT_REST
    return found


def unscored(criterion: str, masks: Mapping[str, Tensor], statistics: Statistics) -> dict[str, str]:
    """Returns layers that a criterion can't score because they don't train, each with the reason.

    A layer at rest has gradients: they tell what the loss would lose ("gradient"), but not where its
    weights have moved ("movement").

    Args:
        criterion: A name in `criteria.CRITERIA`.
        masks: The masks in force.
        statistics: Statistics gathered in training.
    """
    kind = READS.get(criterion)
    if kind not in ("taylor", "movement"):
        return {}
    gathered = statistics.taylor if kind == "taylor" else statistics.movement
    found = {}
    for name, mask in masks.items():
        reason = statistics.at_rest.get(name, "")
        values = gathered.get(name)
        if reason == FROZEN or (reason == AT_REST and kind == "movement"):
            found[name] = reason
        elif values is not None and bool(mask.any()) and not bool(values[mask].any()):
            found[name] = UNREACHED
    return found


def comparable(
    criterion: str,
    weights: Weights,
    masks: Mapping[str, Tensor],
    statistics: Statistics,
    *,
    pools: Iterable[Collection[str]],
    deviations: bool,
) -> Scores:
    """Scores of all weights, in one unit.

    Args:
        criterion: A name in `criteria.CRITERIA`.
        weights: Tensors by name.
        masks: The masks in force, of these names at least.
        statistics: Statistics that the criterion needs in addition to the weights.
        pools: Names of weights that compete with each other.
        deviations: Whether the unit is a layer's standard deviation.

    Returns:
        Scores of the weights' shapes. Where no layer of any pool can be scored, magnitudes.

    Raises:
        ScoreError: `criteria.score` raises it.
    """
    left = unscored(criterion, {name: masks[name] for name in weights}, statistics)
    scores = score(criterion, {n: w for n, w in weights.items() if n not in left}, statistics)
    if deviations:
        scores = in_layer_deviations(scores, weights if criterion == "magnitude" else scores)
    if not left:
        return scores
    sizes = score("magnitude", {name: weights[name] for name in left})
    known = list(scores)
    for pool in pools:
        others = [name for name in known if name in pool] or known
        kept = [scores[name][masks[name]] for name in others]
        reference = torch.cat(kept).sort().values if kept else torch.empty(0)
        for name in pool:
            if name in left:
                scores[name] = _by_rank(sizes[name], masks[name], reference)
    return {name: scores[name] for name in weights}


def warn_of_unscored(criterion: str, found: Mapping[str, str], before: Iterable[str]) -> None:
    """Names, once, the layers that don't go by the criterion that was asked for."""
    new = [f"{name} ({reason})" for name, reason in found.items() if name not in set(before)]
    if new:
        logger.warning(
            "criterion %r cannot score layers that don't train: they are pruned by magnitude, at the "
            'share of the others: %s. Leave them dense with "exclude", or choose another criterion.',
            criterion,
            ", ".join(new),
        )


def _by_rank(sizes: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
    """The score at each kept weight's rank by size; the sizes themselves without a reference."""
    if not reference.numel() or not sizes.numel():
        return sizes
    kept = mask.flatten()
    order = torch.argsort(sizes.flatten()[kept], stable=True)
    # The middle of each weight's share of the ranks, so that both ends are met alike.
    middles = (torch.arange(len(order), device=sizes.device).double() + 0.5) / max(1, len(order))
    places = (middles * len(reference)).long().clamp_max(len(reference) - 1)
    ranked = torch.empty(len(order), dtype=reference.dtype, device=sizes.device)
    ranked[order] = reference[places]
    scores = torch.zeros(sizes.numel(), dtype=reference.dtype, device=sizes.device)
    scores[kept] = ranked
    return scores.view_as(sizes)
