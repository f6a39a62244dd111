"""Trains small dense networks of several widths in one pack.

Each network is a corner of the widest one's weights. The weights outside the corner are masked: they
stay zero, and their gradients don't count in a gradient norm, so each network learns as it would alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor, nn

from rllib_ext.member.segment import Segment
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.hyperparameters import hyperparameters_of
from rllib_ext.packed.state import MemberState
from rllib_ext.policy.store import METADATA, PolicyParts
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import load_masks, masks_to_numpy
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.rl.module.critic import critic_names


@contextlib.contextmanager
def narrow_starts(
    wide: PPOConfig, segments: Sequence[Segment], narrow: Sequence[PPOConfig]
) -> Iterator[list[Segment]]:
    """Prepares segments whose members start as narrower networks than their pack's network.

    Args:
        wide: PPO configuration of the pack.
        segments: Segments to train, each from fresh weights.
        narrow: PPO configuration of each segment's network, with at most as many units per layer.

    Yields:
        The segments, each starting from a training state in a temporary folder on this machine.
    """
    blueprint = blueprint_of(wide)
    with tempfile.TemporaryDirectory() as name:
        begun = []
        for i, (segment, own) in enumerate(zip(segments, narrow, strict=True)):
            small = blueprint_of(own).module(segment.seed)
            folder = Path(name) / str(i)
            _start(blueprint.module(segment.seed), small, segment, wide).save(folder)
            # Joining a results folder with an absolute path gives the absolute path.
            begun.append(dataclasses.replace(segment, state=str(folder)))
        yield begun


def _start(module: nn.Module, small: nn.Module, segment: Segment, ppo: PPOConfig) -> MemberState:
    config = PruningConfig.from_dict(segment.pruning)
    pruner = Pruner(module, list, config, critic_prefixes=critic_names(module))
    shapes = {name: p.shape for name, p in module.named_parameters()}
    weights = {n: embedded(p.detach(), shapes[n]) for n, p in small.named_parameters()}
    kept = {n: embedded(torch.ones_like(p), shapes[n]) > 0 for n, p in small.named_parameters()}
    masks = {name: kept[name] for name in pruner.masks}
    return MemberState(
        weights=weights,
        first={name: torch.zeros(shape) for name, shape in shapes.items()},
        second={name: torch.zeros(shape) for name, shape in shapes.items()},
        steps=0.0,
        pruning={**pruner.state_dict(), "masks": masks_to_numpy(masks)},
        kl_coeff=hyperparameters_of(ppo, {}).kl_coeff,
        iteration=0,
        filter={},
    )


def embedded(corner: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns zeros of a shape, with a smaller tensor copied into the corner at index 0."""
    found = torch.zeros(tuple(shape), dtype=corner.dtype)
    found[tuple(slice(n) for n in corner.shape)] = corner
    return found


def cut_out(folder: Path, own: PPOConfig, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces a saved policy of the pack's width by the narrow network in its corner.

    Args:
        folder: Folder of the saved policy.
        own: PPO configuration of the narrow network.
        snapshot: The snapshot's values.

    Returns:
        The snapshot's values with the narrow network's counts.
    """
    blueprint = blueprint_of(own)
    module, small = RLModule.from_checkpoint(folder / "rl_module"), blueprint.inference_module()
    small.load_state_dict(_corners(module.state_dict(), small.state_dict()))
    whole = blueprint.module(0)
    masks = _corners(load_masks(folder / "masks.npz"), dict(whole.named_parameters()))
    counts = {
        "sparsity": 0.0,
        "total_params": snapshot["nonzero_params"],
        "layers": dict.fromkeys(snapshot["layers"], 0.0),
    }
    parts = PolicyParts(
        module=small,
        env_to_module=EnvToModulePipeline.from_checkpoint(folder / "env_to_module"),
        module_to_env=ModuleToEnvPipeline.from_checkpoint(folder / "module_to_env"),
    )
    described = json.loads((folder / METADATA).read_text())
    parts.save(masks, folder, {**described, **counts})
    return {**snapshot, **counts}


def _corners(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value[tuple(slice(n) for n in narrow[name].shape)]
        for name, value in wide.items()
        if name in narrow
    }
