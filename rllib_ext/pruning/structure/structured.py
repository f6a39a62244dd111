"""Scores to masks at granularities coarser than a weight: the lowest groups go whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.masks import Masks
from rllib_ext.pruning.scope import pruned_by_layer
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.layers import plane_of


def group_scores(
    structure: Structure, scores: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Tensor:
    """score(M) = Σ score(w) ÷ |M| over the weights that a group still has (ARTICLE §4.2).

    A weight that went with another group belongs to no group any more: the scores are those of the
    smaller network that the masks stand for.

    Args:
        structure: The groups.
        scores: Scores by name; weights without a score don't count.
        masks: Masks of all weights, of the same shapes.

    Returns:
        float64 of shape (groups,); NaN for groups without weights.
    """
    scored = {name: masks[name] for name in structure.rows if name in scores}
    kept = {name: scores[name] * mask for name, mask in scored.items()}
    return structure.totals(kept) / structure.totals(scored)


def prune_groups(
    structure: Structure,
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    scope: str,
    among: Iterable[str],
    sparsity: float | None = None,
    threshold: float | None = None,
) -> Masks:
    """Removes the groups with the lowest scores; what is pruned stays pruned.

    With `sparsity`, the largest number of groups, lowest first, that leaves no more than
    floor(s·n) of the n weights pruned. With `threshold`, all groups with score < threshold. With both,
    those below the threshold, lowest first, as far as `sparsity` allows. Ties go by index. A layer's
    last live unit stays; a layer or a branch stays when an output would be cut off.

    Args:
        structure: The groups.
        scores: Scores by name; weights without a score don't count in a group's.
        masks: The masks so far, of all weights.
        scope: "global": all groups compete. "layerwise": each layer loses the same share of its groups.
            "erk": a layer loses its groups in proportion to the sparsity that Erdős–Rényi-kernel gives
            its incoming weights (`pruned_by_layer`); without `sparsity` as "layerwise". Groups that are
            layers or branches always compete.
        among: Names of the weights that are counted; the groups whose home is one of them compete.
        sparsity: In [0, 1].
        threshold: Prune where score < threshold.

    Returns:
        New masks, subsets of `masks`, for all weights.
    """
    counted = list(among)
    values = group_scores(structure, scores, masks)
    there = ~structure.removed(masks)
    ours = torch.tensor([home in set(counted) for home in structure.homes], dtype=torch.bool)
    eligible = there & ours
    if threshold is not None:
        eligible &= values < threshold
    jointly = scope == "global" or structure.whole
    claims = None if jointly else _claims(scope, masks, counted, sparsity)
    order = [group for group in _ranking(structure, values, there, claims) if bool(eligible[group])]
    order = _allowed(structure, order, masks, there)
    if sparsity is not None:
        order = order[: _fitting(structure, order, masks, counted, sparsity)]
    removed = ~there
    removed[order] = True
    return structure.keep_masks(removed, masks)


def _claims(
    scope: str, masks: Mapping[str, Tensor], counted: list[str], sparsity: float | None
) -> dict[str, float]:
    """Returns the relative loss of groups of each layer, by name of its incoming weights."""
    if scope == "layerwise" or sparsity is None:
        return dict.fromkeys(counted, 1.0)
    shapes = [masks[name].shape for name in counted]
    sizes = [masks[name].numel() for name in counted]
    lost = pruned_by_layer(scope, math.floor(sparsity * sum(sizes)), shapes, [0] * len(sizes))
    return {n: part / size for n, part, size in zip(counted, lost, sizes, strict=True)}


def _ranking(
    structure: Structure, values: Tensor, there: Tensor, claims: Mapping[str, float] | None
) -> list[int]:
    """Groups, those that go first first; of layers without a claim none."""
    by_score: list[int] = torch.argsort(values, stable=True).tolist()
    if claims is None:
        return by_score
    sizes: dict[str, int] = {}
    lost: dict[str, int] = {}
    for group, home in enumerate(structure.homes):
        sizes[home] = sizes.get(home, 0) + 1
        lost[home] = lost.get(home, 0) + (not bool(there[group]))
    shares: dict[int, float] = {}
    for group in by_score:
        home = structure.homes[group]
        if bool(there[group]) and claims.get(home, 0.0) > 0.0:
            lost[home] += 1
            shares[group] = lost[home] / sizes[home] / claims[home]
    return sorted(shares, key=lambda group: (shares[group], group))


def _allowed(
    structure: Structure, order: list[int], masks: Mapping[str, Tensor], there: Tensor
) -> list[int]:
    """The order without groups that would take a layer's last live unit, or cut an output off."""
    if structure.whole:
        gone = frozenset(
            name
            for group in torch.nonzero(~there).flatten().tolist()
            for name in structure.takes[group]
        )
        allowed = []
        for group in order:
            if structure.graph.connected(gone | structure.takes[group].keys()):
                gone |= structure.takes[group].keys()
                allowed.append(group)
        return allowed
    into, out_of = structure.split_totals(masks)
    # A unit that reads nothing, or that nothing reads, is dead already: it is not what must stay.
    alive = (into > 0) & (out_of > 0)
    left = dict(structure.widths)
    for group in torch.nonzero(~alive).flatten().tolist():
        for layer, units in structure.takes[group].items():
            left[layer] -= units
    allowed = []
    for group in order:
        takes = structure.takes[group] if bool(alive[group]) else {}
        if all(left[layer] > units for layer, units in takes.items()):
            for layer, units in takes.items():
                left[layer] -= units
            allowed.append(group)
    return allowed


def _fitting(
    structure: Structure,
    order: list[int],
    masks: Mapping[str, Tensor],
    counted: list[str],
    sparsity: float,
) -> int:
    """Returns how many groups can be removed in order before more than floor(s·n) weights are pruned."""
    total = sum(masks[name].numel() for name in counted)
    already = total - sum(int(masks[name].sum()) for name in counted)
    position = torch.full((len(structure),), len(order))
    position[order] = torch.arange(len(order))
    going = torch.zeros(len(order) + 1, dtype=torch.float64)
    for name in counted:
        if name in structure.rows:
            times = structure.removal_times(name, position, never=len(order)).flatten()
            live = plane_of(masks[name]).flatten()
            going += torch.bincount(times, weights=live, minlength=len(order) + 1)
    # The slack takes back what s·n loses in floating point: 0.7 · 10 is a hair below 7.
    limit = math.floor(sparsity * total + 1e-9)
    return int((already + going[:-1].cumsum(0) <= limit).sum())
