"""Rewinding: after a round of iterative pruning the surviving weights start over from early ones.

Frankle & Carbin 2019 (arXiv 1803.03635) go back to the initial weights, Frankle et al. 2020
(arXiv 1903.01611) to those of an early iteration. All parameters go back, statistics and coefficients
with them, and the optimizer forgets.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.pruning.training.optimizer import OptimizerLike, restore_moments_
from rllib_ext.pruning.training.side import SideState


class Rewinding:
    """Keeps a network's early parameters and puts them back when asked.

    Args:
        at: Progress whose parameters are kept: those before the first update at or after it. None:
            nothing is kept.
        side: State that is rewound with the parameters; None means nothing else.
    """

    def __init__(self, at: float | None, side: SideState | None = None) -> None:
        self.at = at
        self.due = False
        self._kept: dict[str, Tensor] | None = None
        self._side = side
        self._kept_side: dict[str, Any] | None = None

    def keep(self, module: nn.Module, progress: float) -> None:
        """Copies the parameters if their time has come, once."""
        if self.at is not None and self._kept is None and progress >= self.at:
            self._kept = {n: p.detach().cpu().clone() for n, p in module.named_parameters()}
            self._kept_side = None if self._side is None else self._side.take()

    @torch.no_grad()
    def rewind_(self, module: nn.Module, optimizers: Sequence[OptimizerLike]) -> None:
        """Puts the parameters back in place and clears the optimizers' state of them."""
        assert self._kept is not None, "parameters are kept before the first round"
        self.due = False
        parameters = dict(module.named_parameters())
        for name, saved in self._kept.items():
            parameters[name].copy_(saved)
        nothing: dict[str, dict[str, Any]] = {name: {} for name in parameters}
        restore_moments_(optimizers, parameters, [nothing for _ in optimizers])
        if self._side is not None and self._kept_side is not None:
            self._side.put_back_(self._kept_side)

    def state_dict(self) -> dict[str, Any] | None:
        """Returns the kept state as plain values and arrays; None before there is any."""
        if self._kept is None:
            return None
        parameters = {name: value.numpy() for name, value in self._kept.items()}
        return {"parameters": parameters, "side": self._kept_side}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Takes over what a checkpoint kept, if this network is to be rewound at all."""
        self.due = False
        self._kept = self._kept_side = None
        if state is not None and self.at is not None:
            kept = state["parameters"].items()
            self._kept = {name: torch.from_numpy(np.array(value)) for name, value in kept}
            self._kept_side = copy.deepcopy(state["side"])
