"""Scores to masks; applying, counting, saving and loading them.

A mask is a bool tensor of its weight's shape, True = keep. Functions here return new masks; only
`apply_masks_` changes weights, in place.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.scope import pruned_by_layer

Masks = dict[str, Tensor]


def full_masks(weights: Mapping[str, Tensor]) -> Masks:
    """Masks that keep every weight."""
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def count_for(sparsity: float, weights: Mapping[str, Tensor]) -> int:
    """Returns the number of zero weights at a sparsity: round(s·n), halves to even."""
    return round(sparsity * sum(w.numel() for w in weights.values()))


def masked_share(masks: Mapping[str, Tensor], among: Iterable[str]) -> float:
    """Share of the weights of some layers that their masks prune; 0 without any layer."""
    total = pruned = 0
    for name in among:
        total += masks[name].numel()
        pruned += int((~masks[name]).sum())
    return pruned / total if total else 0.0


def prune(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    scope: str,
    count: int | None = None,
    threshold: float | None = None,
) -> Masks:
    """Removes the lowest scores; what is pruned stays pruned.

    With `count` alone, exactly that many weights are pruned afterwards (more if more were already).
    With `threshold` alone, all with score < threshold are. With both, those below the threshold,
    lowest first, until `count` are pruned. Ties go by position: layers in order, then row by row.

    Args:
        scores: Scores by layer.
        masks: The masks so far, of the same names and shapes.
        scope: "global": all layers compete, and one may lose every weight; "layerwise", "erk": as
            `pruned_by_layer` shares the count out.
        count: Pruned weights afterwards, over all layers, at most the number of weights.
        threshold: Prune where score < threshold.

    Returns:
        New masks, subsets of `masks`.
    """
    return Cuts(scores, masks, scope=scope, threshold=threshold).at(count)


class Cuts:
    """Masks at every cut through one ranking, which is made once.

    Args:
        scores: Scores by layer.
        masks: The masks so far, of the same names and shapes.
        scope: Scope of the ranking, as for `prune`.
        threshold: Score threshold, as for `prune`.
    """

    def __init__(
        self,
        scores: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        *,
        scope: str,
        threshold: float | None = None,
    ) -> None:
        self._masks = masks
        self._scope = scope
        names = list(masks)
        pools = [names] if scope == "global" else [[name] for name in names]
        self._pools = [_Pool(pool, scores, masks, threshold) for pool in pools if pool]
        self._shapes = [masks[name].shape for name in names]
        self.size = sum(mask.numel() for mask in masks.values())
        self.already = sum(pool.already for pool in self._pools)

    def at(self, count: int | None) -> Masks:
        """Masks with so many weights pruned, as far as the threshold lets them go; None: as far."""
        if not self._pools:
            return {}
        limit = self.size if count is None else count
        limits = [limit]
        if self._scope != "global":
            lost = [pool.already for pool in self._pools]
            limits = pruned_by_layer(self._scope, limit, self._shapes, lost)
        found: Masks = {}
        for pool, own in zip(self._pools, limits, strict=True):
            found |= pool.at(own)
        return found


class _Pool:
    """Layers whose weights compete."""

    def __init__(
        self,
        names: list[str],
        scores: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        threshold: float | None,
    ) -> None:
        self._kept = {name: masks[name] for name in names}
        kept = torch.cat([masks[name].flatten() for name in names])
        flat = torch.cat([scores[name].flatten() for name in names])
        self.already = kept.numel() - int(kept.sum())
        self._most = kept.numel()
        if threshold is not None:
            self._most = self.already + int((kept & (flat < threshold)).sum())
        # Pruned weights rank below every score, so that the first ones are all of them.
        ranking = torch.where(kept, flat, torch.full_like(flat, -torch.inf))
        order = torch.argsort(ranking, stable=True)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order), device=order.device)
        parts = torch.split(ranks, [masks[name].numel() for name in names])
        self._ranks = {n: part.view_as(masks[n]) for n, part in zip(names, parts, strict=True)}

    def at(self, limit: int) -> Masks:
        limit = min(limit, self._most)
        if limit <= self.already:
            return {name: mask.clone() for name, mask in self._kept.items()}
        return {name: self._kept[name] & (ranks >= limit) for name, ranks in self._ranks.items()}


@torch.no_grad()
def apply_masks_(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Sets every masked weight to exactly 0.0, in place."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)


def count_zeros(weights: Iterable[Tensor]) -> int:
    """Returns the number of stored weights that are exactly zero."""
    return sum(w.numel() - int(torch.count_nonzero(w)) for w in weights)


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """Share of stored weights that are exactly zero, in [0, 1]; 0 where there are none."""
    total = sum(w.numel() for w in weights.values())
    return count_zeros(weights.values()) / total if total else 0.0


def masks_to_numpy(masks: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Masks as bool arrays, for a checkpoint."""
    return {name: mask.cpu().numpy() for name, mask in masks.items()}


def masks_from_numpy(arrays: Mapping[str, np.ndarray], weights: Mapping[str, Tensor]) -> Masks:
    """Masks from bool arrays, on the device of their weights.

    Raises:
        CheckpointError: Names or shapes are not those of the weights.
    """
    if set(arrays) != set(weights):
        raise CheckpointError(
            f"masks are for {sorted(arrays)}, but the network's prunable weights are "
            f"{sorted(weights)}. Load them into the network, and with the exclusions, they came from."
        )
    masks: Masks = {}
    for name, weight in weights.items():
        mask = torch.from_numpy(np.array(arrays[name], dtype=bool)).to(weight.device)
        if mask.shape != weight.shape:
            raise CheckpointError(
                f"the mask of {name!r} has shape {tuple(mask.shape)}, its weight "
                f"{tuple(weight.shape)}. Load it into a network of the sizes it came from."
            )
        masks[name] = mask
    return masks


def save_masks(path: Path, masks: Mapping[str, Tensor]) -> None:
    """Writes masks as a compressed .npz of bool arrays."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **masks_to_numpy(masks))


def load_masks(path: Path, weights: Mapping[str, Tensor] | None = None) -> Masks:
    """Reads masks written by `save_masks`, without unpickling.

    Args:
        path: The file.
        weights: Weights that the masks must fit; None skips the check and loads the masks on the CPU.

    Raises:
        CheckpointError: The file is missing or damaged, or the masks are for other weights.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} cannot be read as masks: {error}") from error
    if weights is None:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    return masks_from_numpy(arrays, weights)
