"""Scores of a criterion whose scores change with every weight that goes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.criteria import Scores
from rllib_ext.pruning.masks import Cuts, Masks

# Of the weights that are left, so many go between one scoring and the next.
ROUND = 0.1


def scored_in_rounds(
    score: Callable[[Masks], Scores], masks: Mapping[str, Tensor], *, scope: str, count: int
) -> Scores:
    """Scores weights by the order in which they are pruned if the rest is rescored after each tenth.

    A single ranking by the flow through weights empties layers; taken in rounds, none is emptied while
    others have weights to spare (Tanaka et al. 2020, arXiv 2006.05467, sections 4 and 6).

    Args:
        score: Scores by layer, given the masks of what is left.
        masks: The masks so far.
        scope: Scope of the ranking, as for `masks.prune`.
        count: Pruned weights after the last round, over all layers.

    Returns:
        Each kept weight's place in that order, from 1; 0 for pruned ones. Float64.
    """
    left: Masks = dict(masks)
    places = {name: torch.zeros_like(m, dtype=torch.float64) for name, m in masks.items()}
    ranked = 0
    while True:
        scores = score(left)
        cuts = Cuts(scores, left, scope=scope)
        kept = cuts.size - cuts.already
        target = min(count, cuts.already + max(1, int(ROUND * kept)))
        after = cuts.at(target)
        last = target <= cuts.already
        going = left if last else {name: left[name] & ~after[name] for name in left}
        ranked = _rank_(places, scores, going, ranked)
        if last:
            return places
        left = after


def _rank_(
    places: dict[str, Tensor], scores: Scores, going: Mapping[str, Tensor], ranked: int
) -> int:
    """Gives weights the next places by their scores; returns how many have one."""
    flat = torch.cat([scores[name][mask] for name, mask in going.items()])
    order = torch.argsort(flat, stable=True)
    ranks = torch.empty(len(flat), dtype=torch.float64, device=flat.device)
    ranks[order] = torch.arange(1, len(flat) + 1, dtype=torch.float64, device=flat.device) + ranked
    for (name, mask), own in zip(
        going.items(), torch.split(ranks, [int(mask.sum()) for mask in going.values()]), strict=True
    ):
        places[name][mask] = own
    return ranked + len(flat)
