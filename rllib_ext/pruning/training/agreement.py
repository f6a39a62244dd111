"""One word for all processes that train a network together: the first one's.

Ranks can differ in what they gathered, and in whether they can choose at all. Whoever raised before a
broadcast, or left one out, would let the others wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.errors import ScoreError
from rllib_ext.pruning.masks import Masks

Synchronise = Callable[[Tensor], None]


class Agreement:
    """Agreement between processes that train one network: all take over the first process's values.

    Args:
        synchronise: Called with a tensor (uint8), in a fixed order, to make it the first process's
            everywhere; None: there is one process.
        device: Device on which tensors must be for the exchange.
    """

    def __init__(self, synchronise: Synchronise | None, device: torch.device) -> None:
        self.synchronise = synchronise
        self._device = device

    def on(self, yes: bool) -> bool:
        """The first process's answer; called by all of them."""
        if self.synchronise is None:
            return yes
        answer = torch.tensor([yes], dtype=torch.uint8, device=self._device)
        self.synchronise(answer)
        return bool(answer)

    def on_masks(self, choose: Callable[[], Masks], now: Mapping[str, Tensor]) -> Masks:
        """The masks that the first process chooses; called by all of them.

        Args:
            choose: Makes new masks, of the same names and shapes as those now.
            now: The masks in force.

        Raises:
            ScoreError: The first process cannot rank the weights; on all processes.
        """
        failure: ScoreError | None = None
        try:
            masks = choose()
        except ScoreError as error:
            failure, masks = error, {name: mask.clone() for name, mask in now.items()}
        if self.on(failure is not None):
            raise failure or ScoreError(
                "the first of the Learners that train together cannot rank the network's weights; its "
                "own message says why."
            )
        if self.synchronise is not None:
            for mask in masks.values():
                shared = mask.to(torch.uint8)
                self.synchronise(shared)
                mask.copy_(shared.bool())
        return masks
