"""Policies that members of a pack are held to: those that their lineages began with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rllib_ext.packed.network import StackedNetwork, rows_of
from rllib_ext.packed.rollout import STEPS_AT_ONCE


class Teachers:
    """A teacher for each member that has one, laid out like the members' weights.

    Args:
        network: The members.
    """

    def __init__(self, network: StackedNetwork) -> None:
        self._network = network
        self._weights: Tensor | None = None

    def take(self, member: int) -> None:
        """Makes a member's network, as it is now, its teacher."""
        if self._weights is None:
            self._weights = torch.zeros_like(self._network.weights)
        self._weights[member] = self._network.weights[member]

    @torch.no_grad()
    def inputs(self, observations: Tensor, members: Sequence[int], width: int) -> Tensor:
        """Returns the inputs of the teachers' action distributions.

        Args:
            observations: Observations of all members, shape (members, steps, …).
            members: Those whose teachers are asked, ascending; each has one.
            width: Number of inputs of a distribution.

        Returns:
            A tensor of shape (members, steps, width); zeros for those that weren't asked.
        """
        assert self._weights is not None, "a member takes its teacher when it starts"
        network, rows = self._network, rows_of(members, self._network)
        found = observations.new_zeros(*observations.shape[:2], width)
        parameters = network.parts(self._weights[rows])
        parts = torch.split(observations[rows], STEPS_AT_ONCE, dim=1)
        # Copied, since the next ones come to lie where they are.
        taught = [network.act(parameters, part, network.scratch).clone() for part in parts]
        found[rows] = torch.cat(taught, dim=1)
        return found
