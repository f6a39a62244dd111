"""What members' criteria learn from minibatches, computed for all members at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rllib_ext.packed.computation import Activity
from rllib_ext.packed.network import StackedNetwork
from rllib_ext.pruning.criteria import StatisticKind
from rllib_ext.pruning.training.statistics import FROM_GRADIENT, SUMMED, Gatherer


class StackedStatistics:
    """Keeps what members' Gatherers learn from gradients, laid out like their weights.

    Args:
        network: The members.
    """

    def __init__(self, network: StackedNetwork) -> None:
        self._network = network
        self._rooms: dict[StatisticKind, Tensor] = {}

    def room(self, member: int, kind: StatisticKind, name: str) -> Tensor:
        """Zeroed room for one of a member's weights, as its Gatherer asks for it."""
        if kind not in self._rooms:
            self._rooms[kind] = torch.zeros_like(self._network.weights)
        return self._network.part(self._rooms[kind][member], name).zero_()

    @torch.no_grad()
    def observe(self, gradients: Tensor, gatherers: Mapping[int, Gatherer]) -> None:
        """Takes one minibatch's gradients.

        Args:
            gradients: A tensor of shape (rows, parameters of one).
            gatherers: One for each row, in the rows' order.
        """
        for kind in FROM_GRADIENT:
            rows = [row for row, g in enumerate(gatherers.values()) if kind in g.kinds]
            if rows:
                asking = {m: g for m, g in gatherers.items() if kind in g.kinds}
                self._add(kind, gradients[rows], asking)

    @torch.no_grad()
    def observe_activations(
        self, activity: Mapping[str, Sequence[Activity]], gatherers: Mapping[int, Gatherer]
    ) -> None:
        """Takes how active what the weights read was in one minibatch.

        Args:
            activity: As of `rllib_ext.packed.computation.ForwardPass`.
            gatherers: One for each row, in the rows' order.
        """
        rows = {row: g for row, g in enumerate(gatherers.values()) if "activation" in g.kinds}
        if not rows:
            return
        for name, uses in activity.items():
            asking = {row: g for row, g in rows.items() if name in g.weights}
            if not asking:
                continue
            for found in (use(list(asking)) for use in uses):
                for gatherer, own in zip(asking.values(), found, strict=True):
                    gatherer.add_("activation", name, own)

    def _add(
        self, kind: StatisticKind, gradients: Tensor, gatherers: Mapping[int, Gatherer]
    ) -> None:
        said = FROM_GRADIENT[kind](self._network.weights[list(gatherers)], gradients)
        finite = torch.isfinite(said).all(dim=1).tolist()
        rows, members, divisors = [], [], []
        for row, (member, gatherer) in enumerate(gatherers.items()):
            divisor = gatherer.divisor(kind)
            if divisor is None or not finite[row]:
                for name in gatherer.weights:
                    gatherer.add_(kind, name, self._network.part(said[row], name))
                continue
            gatherer.count(kind)
            rows.append(row)
            members.append(member)
            divisors.append(divisor)
        if len(rows) < len(said):
            said = said[rows]
        kept = self._rooms[kind][members]
        change = said if kind in SUMMED else said - kept
        self._rooms[kind][members] = kept + change / said.new_tensor(divisors).unsqueeze(1)
