"""Clears an optimizer's moments of pruned weights, and copies and restores its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class OptimizerLike(Protocol):
    """Interface that pruning needs of an optimizer: torch's own, or a pack's view of one member."""

    @property
    def state(self) -> MutableMapping[Tensor, Any]:
        """By parameter, its moments by name; empty for one that has not been stepped."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of parameters ("params"), each with its learning rate ("lr")."""


@torch.no_grad()
def clear_moments_(
    optimizers: Iterable[OptimizerLike],
    weights: Mapping[str, nn.Parameter],
    masks: Mapping[str, Tensor],
) -> None:
    """Zeroes every per-weight moment of pruned weights, in place.

    Without this, one Adam step moves a pruned weight by up to 9e-3 although its gradient is zero, and
    a weight that regrows starts with the momentum of long ago.

    Args:
        optimizers: Torch optimizers that hold state for some of the weights.
        weights: Parameters by name.
        masks: Masks by the same names, True = keep.
    """
    for optimizer in optimizers:
        for name, mask in masks.items():
            state = optimizer.state.get(weights[name])
            if not state:
                continue
            for moment in state.values():
                if isinstance(moment, Tensor) and moment.shape == mask.shape:
                    moment.masked_fill_(~mask, 0.0)


def copy_moments(
    optimizers: Iterable[OptimizerLike], parameters: Mapping[str, nn.Parameter]
) -> list[dict[str, dict[str, Any]]]:
    """Copies the state that each optimizer holds for each parameter: to numpy-free tensors on CPU."""
    return [
        {
            name: {
                key: value.detach().cpu().clone() if isinstance(value, Tensor) else value
                for key, value in optimizer.state.get(parameter, {}).items()
            }
            for name, parameter in parameters.items()
        }
        for optimizer in optimizers
    ]


@torch.no_grad()
def restore_moments_(
    optimizers: Iterable[OptimizerLike],
    parameters: Mapping[str, nn.Parameter],
    copies: list[dict[str, dict[str, Any]]],
) -> None:
    """Puts back what `copy_moments` copied, bit by bit, in place.

    The copies stay what they are: a state may be come back to more than once.
    """
    for optimizer, by_name in zip(optimizers, copies, strict=True):
        for name, saved in by_name.items():
            parameter = parameters[name]
            if not saved:
                optimizer.state.pop(parameter, None)
                continue
            state = optimizer.state[parameter]
            for key in [key for key in state if key not in saved]:
                del state[key]
            for key, value in saved.items():
                current = state.get(key)
                if isinstance(value, Tensor) and isinstance(current, Tensor):
                    current.copy_(value)
                elif isinstance(value, Tensor):
                    state[key] = value.clone().to(_device_of(optimizer, parameter, value))
                else:
                    state[key] = value


def _device_of(optimizer: OptimizerLike, parameter: nn.Parameter, value: Tensor) -> torch.device:
    """Returns the device for a part of an optimizer's state: counts stay on the CPU unless fused."""
    if value.dim():
        return parameter.device
    for group in optimizer.param_groups:
        if any(parameter is held for held in group["params"]):
            on_device = group.get("fused") or group.get("capturable")
            return parameter.device if on_device else value.device
    return value.device


# Running means and sums of squared gradients, by the names that torch's optimizers use.
_SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "exp_inf", "sum")


@torch.no_grad()
def start_moments_(
    optimizers: Iterable[OptimizerLike],
    weights: Mapping[str, nn.Parameter],
    grown: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
) -> None:
    """Gives regrown weights fresh moments, in place: no momentum, and their layer's typical scale.

    Adam corrects its bias by a step count that a whole layer shares. Late in training a second moment
    of 0 therefore makes the first step of a regrown weight 0.1 ÷ √0.001 = 3.2 learning rates long,
    whatever its gradient. With the mean of the layer's kept weights a gradient of typical size moves
    it by 0.1 of one, as it would a weight that has just come to rest.

    Args:
        optimizers: Torch optimizers that hold state for some of the weights.
        weights: Parameters by name.
        grown: True where a weight has just come back, by the same names.
        kept: True where a weight was there all along, by the same names.
    """
    for optimizer in optimizers:
        for name, new in grown.items():
            state = optimizer.state.get(weights[name])
            if not state:
                continue
            for key, moment in state.items():
                if not isinstance(moment, Tensor) or moment.shape != new.shape:
                    continue
                settled = moment[kept[name]]
                typical = key in _SECOND_MOMENTS and settled.numel() > 0
                moment[new] = settled.mean() if typical else 0.0
