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
    """How many weights are zero at a sparsity: round(s·n), halves to even."""
    return round(sparsity * sum(w.numel() for w in weights.values()))


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
    names = list(masks)
    if not names:
        return {}
    sizes = [masks[name].numel() for name in names]
    limit = sum(sizes) if count is None else count
    if scope == "global":
        return _prune_jointly(names, scores, masks, limit, threshold)
    lost = [sizes[i] - int(masks[name].sum()) for i, name in enumerate(names)]
    pruned: Masks = {}
    limits = pruned_by_layer(scope, limit, [masks[name].shape for name in names], lost)
    for name, layer_limit in zip(names, limits, strict=True):
        pruned |= _prune_jointly([name], scores, masks, layer_limit, threshold)
    return pruned


def _prune_jointly(
    names: list[str],
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    limit: int,
    threshold: float | None,
) -> Masks:
    kept = torch.cat([masks[name].flatten() for name in names])
    flat = torch.cat([scores[name].flatten() for name in names])
    already = kept.numel() - int(kept.sum())
    if threshold is not None:
        limit = min(limit, already + int((kept & (flat < threshold)).sum()))
    if limit <= already:
        return {name: masks[name].clone() for name in names}
    # Pruned weights rank below every score, so that the first `limit` contain them all.
    ranking = torch.where(kept, flat, torch.full_like(flat, -torch.inf))
    order = torch.argsort(ranking, stable=True)
    keep = torch.ones_like(kept)
    keep[order[:limit]] = False
    keep &= kept
    parts = torch.split(keep, [masks[name].numel() for name in names])
    return {n: part.view_as(masks[n]).clone() for n, part in zip(names, parts, strict=True)}


@torch.no_grad()
def apply_masks_(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Sets every masked weight to exactly 0.0, in place."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)


def count_zeros(weights: Iterable[Tensor]) -> int:
    """How many stored weights are exactly zero."""
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
        weights: What they must be for; None: not checked, and the masks come on the CPU.

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
