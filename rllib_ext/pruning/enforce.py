"""Keeping pruned weights at exactly zero while an optimizer runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class Enforcer:
    """Masks gradients before an optimizer step and weights after it.

    Args:
        weights: Prunable weights by name.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        self._weights = weights
        self._masked: list[tuple[nn.Parameter, Tensor]] = []

    def take(self, masks: Mapping[str, Tensor]) -> None:
        """From now on these masks hold, by the weights' names."""
        # As floats, and only where something is pruned: enforcing is then one fused multiplication.
        self._masked = [
            (self._weights[name], mask.to(self._weights[name].dtype))
            for name, mask in masks.items()
            if not bool(mask.all())
        ]

    def mask_gradients_(self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]]) -> None:
        """Zeroes gradients of pruned weights in place, so that they don't count in a clipped norm."""
        by_parameter = {id(parameter): mask for parameter, mask in self._masked}
        chosen = [
            (gradient, by_parameter[id(parameter)])
            for parameter, gradient in gradients
            if gradient is not None and id(parameter) in by_parameter
        ]
        if chosen:
            torch._foreach_mul_([g for g, _ in chosen], [m for _, m in chosen])

    @torch.no_grad()
    def enforce_(self) -> None:
        """Sets every masked weight to zero again; called after every optimizer step."""
        if self._masked:
            torch._foreach_mul_([p for p, _ in self._masked], [m for _, m in self._masked])
