"""Statistics that members' criteria learn from minibatches, computed for all members at once.

While an update runs, what was seen, and how often, lies where the weights lie. When it is over, it is
written into the members' Gatherers, whose matter it is what becomes of it.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from rllib_ext.packed.computation import Activity, ForwardPass
from rllib_ext.packed.network import Rows, StackedNetwork, rows_of
from rllib_ext.packed.running_means import RunningMeans
from rllib_ext.pruning.criteria import StatisticKind
from rllib_ext.pruning.training.statistics import FROM_GRADIENT, SUMMED, Gatherer

Gatherers = Mapping[int, Gatherer]
# Takes a minibatch's gradients, of shape (rows, parameters of one), and its forward pass.
Observer = Callable[[Tensor, ForwardPass], None]


class StackedStatistics:
    """Keeps what members' Gatherers learn from minibatches.

    Args:
        network: The members.
    """

    def __init__(self, network: StackedNetwork) -> None:
        self._network = network
        self._of_gradients: dict[StatisticKind, _OfGradients] = {}
        self._of_activity: dict[str, _OfActivity] = {}

    def room(self, member: int, kind: StatisticKind, name: str) -> Tensor:
        """Zeroed room for one of a member's weights, as its Gatherer asks for it."""
        if kind not in self._of_gradients:
            self._of_gradients[kind] = _OfGradients(self._network, kind)
        means = self._of_gradients[kind].means
        return self._network.part(means.values[member], name).zero_()

    def observer(self, gatherers: Gatherers) -> Observer | None:
        """Returns the observer of minibatches for some members; None if they gather nothing.

        Args:
            gatherers: The members' Gatherers by member, ascending; a minibatch has a row for each.
        """
        found: list[Observer] = []
        for kind in FROM_GRADIENT:
            asking = {m: g for m, g in gatherers.items() if kind in g.kinds}
            if asking:
                found.append(
                    self._of_gradients[kind].observer(_Some.of(asking, gatherers, self._network))
                )
        asking = {m: g for m, g in gatherers.items() if "activation" in g.kinds}
        if asking:
            found.append(self._activity_observer(asking, gatherers))

        @torch.no_grad()
        def observe(gradients: Tensor, batch: ForwardPass) -> None:
            for each in found:
                each(gradients, batch)

        return observe if found else None

    @torch.no_grad()
    def settle(self) -> None:
        """Writes into the Gatherers what was seen since the last time."""
        for kept in (*self._of_gradients.values(), *self._of_activity.values()):
            if kept.waiting:
                counts = kept.means.seen[list(kept.waiting)].tolist()
                for (member, gatherer), own in zip(kept.waiting.items(), counts, strict=True):
                    kept.write(member, gatherer, own)
                kept.waiting.clear()

    def _activity_observer(self, asking: Gatherers, gatherers: Gatherers) -> Observer:
        # Which weights are used, and what of a use is kept, shows in the first minibatch.
        ready: dict[str, Callable[[Sequence[Activity]], None]] = {}

        def start(name: str, uses: Sequence[Activity]) -> Callable[[Sequence[Activity]], None]:
            own = {m: g for m, g in asking.items() if name in g.weights}
            if not own:
                return lambda uses: None
            mine = _Some.of(own, gatherers, self._network)
            if name not in self._of_activity:
                shape = uses[0](mine.rows).shape[1:]
                self._of_activity[name] = _OfActivity(self._network, name, shape)
            return self._of_activity[name].observer(mine)

        def observe(_: Tensor, batch: ForwardPass) -> None:
            for name, uses in batch.activity.items():
                if name not in ready:
                    ready[name] = start(name, uses)
                ready[name](uses)

        return observe


@dataclasses.dataclass(frozen=True)
class _Some:
    """Some of the members that a minibatch has rows of.

    Attributes:
        gatherers: The Gatherers of these members, by member.
        members: Rows of the stacked weights that these members are.
        rows: Rows of the minibatch that belong to these members.
        windows: Values over which their means run, of shape (members, 1).
    """

    gatherers: Gatherers
    members: Rows
    rows: Rows
    windows: Tensor

    @classmethod
    def of(cls, some: Gatherers, everyone: Gatherers, network: StackedNetwork) -> _Some:
        """Selects the members that gather the statistic from those that have a row."""
        windows = torch.tensor([[g.window] for g in some.values()])
        return cls(
            gatherers=some,
            members=rows_of(list(some), network),
            rows=rows_of([row for row, m in enumerate(everyone) if m in some], network),
            windows=windows.to(network.weights.device),
        )


class _Kept(abc.ABC):
    """A statistic of all members.

    Attributes:
        means: Means of the values seen.
        waiting: Gatherers, by their members, that don't know of it yet.
    """

    def __init__(self, means: RunningMeans) -> None:
        self.means = means
        self.waiting: dict[int, Gatherer] = {}

    def open(self, gatherers: Gatherers) -> None:
        """Reads what Gatherers know, where that wasn't done since they were last written to."""
        fresh = {m: g for m, g in gatherers.items() if self.waiting.get(m) is not g}
        if fresh:
            counts = torch.tensor([self.counts(g) for g in fresh.values()])
            self.means.seen[list(fresh)] = counts.to(self.means.seen.device)
            self.waiting |= fresh
            self.read(fresh)

    @abc.abstractmethod
    def counts(self, gatherer: Gatherer) -> list[int]:
        """Returns the number of minibatches of each part that a Gatherer has seen."""

    @abc.abstractmethod
    def read(self, gatherers: Gatherers) -> None:
        """Reads the means themselves."""

    @abc.abstractmethod
    def write(self, member: int, gatherer: Gatherer, counts: Sequence[int]) -> None:
        """Tells a Gatherer what was seen, and how often."""


class _OfGradients(_Kept):
    """A statistic of gradients; Gatherers share its memory."""

    def __init__(self, network: StackedNetwork, kind: StatisticKind) -> None:
        self._network, self._kind = network, kind
        parts = [slice(slot.start, slot.stop) for slot in network.slots.values()]
        values = torch.zeros_like(network.weights)
        super().__init__(RunningMeans(values, parts, summed=kind in SUMMED))

    def observer(self, some: _Some) -> Observer:
        """Returns the observer of minibatches for some members."""
        self.open(some.gatherers)
        says, weights = FROM_GRADIENT[self._kind], self._network.weights

        def observe(gradients: Tensor, _: ForwardPass) -> None:
            said = says(weights[some.members], gradients[some.rows])
            self.means.add_(said, some.members, some.windows)

        return observe

    @override
    def counts(self, gatherer: Gatherer) -> list[int]:
        seen = gatherer.seen(self._kind)
        return [seen.get(name, 0) for name in self._network.slots]

    @override
    def read(self, gatherers: Gatherers) -> None:
        """Nothing to read: the means lie in the Gatherers' own memory."""

    @override
    def write(self, member: int, gatherer: Gatherer, counts: Sequence[int]) -> None:
        gatherer.saw(self._kind, dict(zip(self._network.slots, counts, strict=True)))


class _OfActivity(_Kept):
    """The activity of the inputs of one weight; Gatherers get copies."""

    def __init__(self, network: StackedNetwork, name: str, shape: torch.Size) -> None:
        self._name, self._shape = name, shape
        size = shape.numel()
        values = network.weights.new_zeros(len(network), size)
        super().__init__(RunningMeans(values, [slice(0, size)]))

    def observer(self, some: _Some) -> Callable[[Sequence[Activity]], None]:
        """Returns the observer of the weight's uses in minibatches for some members."""
        self.open(some.gatherers)

        def observe(uses: Sequence[Activity]) -> None:
            for use in uses:
                self.means.add_(use(some.rows).flatten(1), some.members, some.windows)

        return observe

    @override
    def counts(self, gatherer: Gatherer) -> list[int]:
        return [gatherer.seen("activation")[self._name]]

    @override
    def read(self, gatherers: Gatherers) -> None:
        for member, gatherer in gatherers.items():
            known = gatherer.values("activation").get(self._name)
            row = self.means.values[member]
            if known is None:
                row.zero_()
            else:
                row.copy_(known.flatten())

    @override
    def write(self, member: int, gatherer: Gatherer, counts: Sequence[int]) -> None:
        value = self.means.values[member].view(self._shape)
        gatherer.load("activation", self._name, counts[0], value)
