"""The weights of a network under its masks, with their moments: some go, some come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_ext.pruning.masks import Masks, full_masks
from rllib_ext.pruning.structure.constants import DeadWeights
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.training.accepted import Accepted
from rllib_ext.pruning.training.enforce import Enforcer
from rllib_ext.pruning.training.optimizer import OptimizerLike, clear_moments_, start_moments_
from rllib_ext.pruning.training.regrow import sprout_, survivors
from rllib_ext.pruning.training.side import SideState


class MaskedNetwork:
    """A network of which masked weights, and biases of removed units, are exactly zero.

    Args:
        module: The network.
        weights: Its prunable weights by name.
        optimizers: Returns the optimizers of its parameters.
        structure: The groups that are pruned whole; None: single weights.
        dead: Finds dead weights, which go with those that are removed; None: they stay.

    Attributes:
        masks: Those in force, by the weights' names.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, nn.Parameter],
        optimizers: Callable[[], Sequence[OptimizerLike]],
        structure: Structure | None,
        dead: DeadWeights | None,
    ) -> None:
        self.masks: Masks = full_masks(weights)
        self._module = module
        self._weights = weights
        self._optimizers = optimizers
        self._dead = dead
        self._enforcer = Enforcer(weights, structure, biases=dict(module.named_parameters()))

    @property
    def enforced(self) -> Masks:
        """The masks of all that is held at zero: weights, and biases of removed units."""
        return self._enforcer.masks

    def put_under_(self, masks: Masks) -> None:
        """Puts masks in force; the moments of what they remove are cleared."""
        self.load_(masks)
        clear_moments_(self._optimizers(), self._enforcer.parameters, self._enforcer.masks)

    def load_(self, masks: Masks) -> None:
        """Puts masks in force that speak of the weights and moments as they are."""
        self.masks = masks
        self._enforcer.take(masks)
        self._enforcer.apply_()

    def prune_(self, masks: Masks) -> bool:
        """Removes the weights that masks no longer keep; returns whether any went."""
        if all(torch.equal(mask, self.masks[name]) for name, mask in masks.items()):
            return False
        self.put_under_(self._without_dead(masks))
        return True

    def exchange_(self, masks: Masks, share: float) -> bool:
        """Removes weights and brings others back next to zero, unless none would come.

        Args:
            masks: Masks with those that come, without those that go, and without what is dead then.
            share: Share of each layer's kept weights that had to go.

        Returns:
            Whether any came.
        """
        before = self.masks
        if not any(bool((mask & ~before[name]).any()) for name, mask in masks.items()):
            return False
        if self._dead is not None:
            # Of what goes, those that are not the weakest are dead.
            dead = {n: s & ~masks[n] for n, s in survivors(self._weights, before, share).items()}
            stayed = {name: mask & before[name] | dead[name] for name, mask in masks.items()}
            masks = self._dead.remove_(self._weights, stayed, masks)
        grown = {name: mask & ~before[name] for name, mask in masks.items()}
        self.put_under_(masks)
        stayed = {name: mask & before[name] for name, mask in masks.items()}
        sprout_(self._weights, grown, stayed)
        start_moments_(self._optimizers(), self._weights, grown, stayed)
        return True

    def put_back_(self, accepted: Accepted, side: SideState) -> None:
        """Makes an earlier state stand again, masks included."""
        self.masks = accepted.put_back_(self._module, self._optimizers(), side)
        self._enforcer.take(self.masks)

    def mask_gradients_(self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]]) -> None:
        """Zeroes gradients of pruned weights in place, before they are clipped."""
        self._enforcer.mask_gradients_(gradients)

    def enforce_(self) -> None:
        """Sets every masked weight to zero again; called after every optimizer step."""
        self._enforcer.enforce_()

    def apply_(self) -> None:
        """Sets every masked weight to zero, whatever it was."""
        self._enforcer.apply_()

    def _without_dead(self, masks: Masks) -> Masks:
        """Masks without dead weights, whose part in what the network computes went into biases."""
        return masks if self._dead is None else self._dead.remove_(self._weights, masks)
