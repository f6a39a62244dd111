"""Keeping pruned weights at exactly zero while an optimizer runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from rllib_ext.pruning.masks import Masks, apply_masks_
from rllib_ext.pruning.structure.groups import Structure


class Enforcer:
    """Masks gradients before an optimizer step and weights after it.

    Args:
        weights: Prunable weights by name.
        structure: The groups that are pruned whole; their biases go with them. None: single weights.
        biases: Biases by name; read with a structure only.

    Attributes:
        parameters: Parameters that the masks apply to: the weights, and the biases that lost elements.
        masks: The masks that hold, by the same names.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        structure: Structure | None = None,
        biases: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self._weights = dict(weights)
        self._structure = structure
        self._biases = biases or {}
        self.parameters: dict[str, nn.Parameter] = {}
        self.masks: Masks = {}
        self._masked: list[tuple[nn.Parameter, Tensor]] = []

    def take(self, masks: Mapping[str, Tensor]) -> None:
        """From now on these masks hold, by the weights' names."""
        self.parameters, self.masks = self._weights, dict(masks)
        if self._structure is not None:
            lost = self._structure.bias_masks(masks)
            self.parameters = {**self._weights, **{name: self._biases[name] for name in lost}}
            self.masks |= {n: mask.to(self._biases[n].device) for n, mask in lost.items()}
        # As floats, and only where something is pruned: enforcing is then one fused multiplication.
        self._masked = [
            (self.parameters[name], mask.to(self.parameters[name].dtype))
            for name, mask in self.masks.items()
            if not bool(mask.all())
        ]

    def apply_(self) -> None:
        """Sets every masked parameter to exactly 0.0, whatever it was."""
        apply_masks_(self.parameters, self.masks)

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
