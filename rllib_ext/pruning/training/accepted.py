"""A state of training to come back to: parameters, masks, moments, statistics, coefficients."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.masks import Masks, masks_from_numpy, masks_to_numpy
from rllib_ext.pruning.training.optimizer import OptimizerLike, copy_moments, restore_moments_
from rllib_ext.pruning.training.side import SideState


@dataclasses.dataclass(frozen=True)
class Accepted:
    """The last state at which the return held.

    Attributes:
        parameters: Copies of all parameters of the network, on CPU.
        masks: The masks in force.
        moments: Optimizer moments as copied by `copy_moments`.
        side: Side state as copied by `SideState.take`.
    """

    parameters: dict[str, Tensor]
    masks: Masks
    moments: list[dict[str, dict[str, Any]]]
    side: dict[str, Any]

    @classmethod
    def take(
        cls,
        module: nn.Module,
        masks: Mapping[str, Tensor],
        optimizers: Sequence[OptimizerLike],
        side: SideState,
    ) -> Accepted:
        """Copies the state as it is now."""
        parameters = dict(module.named_parameters())
        return cls(
            parameters={name: p.detach().cpu().clone() for name, p in parameters.items()},
            masks={name: mask.clone() for name, mask in masks.items()},
            moments=copy_moments(optimizers, parameters),
            side=side.take(),
        )

    @torch.no_grad()
    def put_back_(
        self, module: nn.Module, optimizers: Sequence[OptimizerLike], side: SideState
    ) -> Masks:
        """Puts everything but the masks back, bit by bit, in place.

        Returns:
            The masks of that time.
        """
        parameters = dict(module.named_parameters())
        for name, saved in self.parameters.items():
            parameters[name].copy_(saved)
        restore_moments_(optimizers, parameters, self.moments)
        side.put_back_(self.side)
        return {name: mask.clone() for name, mask in self.masks.items()}

    def to_state(self) -> dict[str, Any]:
        """Arrays and plain values for a checkpoint."""
        return {
            "parameters": {name: p.numpy() for name, p in self.parameters.items()},
            "masks": masks_to_numpy(self.masks),
            "moments": self.moments,
            "side": self.side,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Accepted:
        """The inverse of `to_state`.

        Raises:
            CheckpointError: The masks are for other weights.
        """
        return cls(
            parameters={n: torch.as_tensor(v).clone() for n, v in state["parameters"].items()},
            masks=masks_from_numpy(state["masks"], weights),
            moments=[
                {
                    name: {k: _copied(v) for k, v in moments.items()}
                    for name, moments in by_name.items()
                }
                for by_name in state["moments"]
            ],
            side=copy.deepcopy(state["side"]),
        )


def _copied(value: Any) -> Any:
    return None if value is None else torch.as_tensor(value).clone()
