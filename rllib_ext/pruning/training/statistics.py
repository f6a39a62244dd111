"""Statistics of training that criteria and regrowth need, gathered while it runs.

Only what is asked for is gathered: a network that is pruned by magnitude pays nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.pruning.criteria import StatisticKind
from rllib_ext.pruning.training.activations import observe_activations

# What a minibatch says of a weight, from the weight and its gradient.
FROM_GRADIENT: Mapping[StatisticKind, Callable[[Tensor, Tensor], Tensor]] = {
    "taylor": lambda weight, gradient: (weight * gradient).abs(),
    "movement": lambda weight, gradient: -weight * gradient,
    "mean_gradient": lambda weight, gradient: gradient,
}
# Of these, sums over the training are kept, of the others means.
SUMMED: frozenset[StatisticKind] = frozenset({"movement"})
# Gives a zeroed tensor of a weight's shape, for a kind and the weight's name.
Allocate = Callable[[StatisticKind, str], Tensor]


class Average:
    """A running mean over about the last `window` values: exact at first, exponential afterwards.

    Args:
        window: Values that it remembers, ≥ 1; 0: all of them are summed.
        room: Zeroed memory for the mean; None allocates it.

    Attributes:
        seen: Values so far.
    """

    def __init__(self, window: int, room: Tensor | None = None) -> None:
        self.window = window
        self.seen = 0
        self._room = room

    @property
    def value(self) -> Tensor | None:
        """The mean, or sum; None before anything was seen."""
        return self._room if self.seen else None

    @property
    def divisor(self) -> int:
        """By what the next value's distance from the mean is divided; 1 for a sum."""
        return min(self.seen + 1, self.window) if self.window else 1

    def add_(self, value: Tensor) -> None:
        """Takes one more value, unless it isn't finite: the optimizer doesn't see that one either."""
        if not bool(torch.isfinite(value).all()):
            return
        if self._room is None:
            self._room = torch.zeros_like(value)
        self._room += (value - self._room) / self.divisor if self.window else value
        self.seen += 1

    def load_(self, seen: int, value: Tensor | None) -> None:
        """Takes over what was seen elsewhere; nothing without a value."""
        self.seen = 0 if value is None else seen
        if value is None:
            if self._room is not None:
                self._room.zero_()
        elif self._room is None:
            self._room = value.clone()
        else:
            self._room.copy_(value)


class Gatherer:
    """Gathers statistics of a network's weights.

    Args:
        module: The network.
        weights: The module's prunable weights by name.
        kinds: Kinds of statistics to gather.
        window: Minibatches over which means run, ≥ 1.
        room: Memory for statistics of gradients, for callers that add to many networks at once; None
            allocates it.

    Attributes:
        kinds: Kinds of statistics gathered, in alphabetical order.
        weights: The prunable weights, as given.
        window: Number of values that the running means span.
        listens: Whether forward passes count as the training's; those without gradients never do.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, nn.Parameter],
        kinds: Collection[StatisticKind],
        window: int,
        room: Allocate | None = None,
    ) -> None:
        self.kinds: tuple[StatisticKind, ...] = tuple(sorted(set(kinds)))
        self.weights = weights
        self.window = window
        self.listens = True
        self._names = {id(weight): name for name, weight in weights.items()}
        self._averages = {
            kind: {
                name: Average(
                    0 if kind in SUMMED else window,
                    room(kind, name) if room and kind in FROM_GRADIENT else None,
                )
                for name in weights
            }
            for kind in self.kinds
        }
        if "activation" in self.kinds:
            observe_activations(
                module, weights, functools.partial(self.add_, "activation"), lambda: self.listens
            )

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Forward passes within count; for who runs the network for other ends, too."""
        before, self.listens = self.listens, True
        try:
            yield
        finally:
            self.listens = before

    def has(self, kinds: Iterable[StatisticKind]) -> bool:
        """Whether something of every one of these kinds has been seen."""
        return all(any(a.seen for a in self._averages[kind].values()) for kind in kinds)

    @torch.no_grad()
    def observe_gradients(
        self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]], scale: float = 1.0
    ) -> None:
        """Takes the gradients of one minibatch, of pruned weights too, before they are clipped.

        Args:
            gradients: Parameters with their gradients.
            scale: By what the loss was multiplied.
        """
        kinds = [kind for kind in self.kinds if kind in FROM_GRADIENT]
        if not kinds:
            return
        for parameter, gradient in gradients:
            name = self._names.get(id(parameter))
            if name is None or gradient is None:
                continue
            if scale != 1.0:
                gradient = gradient / scale
            for kind in kinds:
                self.add_(kind, name, FROM_GRADIENT[kind](parameter.detach(), gradient))

    def add_(self, kind: StatisticKind, name: str, value: Tensor) -> None:
        """Takes what one minibatch says of one layer's weights."""
        self._averages[kind][name].add_(value)

    def seen(self, kind: StatisticKind) -> dict[str, int]:
        """From how many minibatches a kind was gathered, by layer."""
        return {name: average.seen for name, average in self._averages[kind].items()}

    def saw(self, kind: StatisticKind, counts: Mapping[str, int]) -> None:
        """Counts minibatches whose values the caller has already added to the given memory.

        Args:
            kind: Kind of statistic.
            counts: Number of minibatches seen so far by layer; covers at least the gatherer's weights.
        """
        for name, average in self._averages[kind].items():
            average.seen = counts[name]

    def load(self, kind: StatisticKind, name: str, seen: int, value: Tensor) -> None:
        """Takes over a copy of one layer's statistics from elsewhere.

        Args:
            kind: Kind of statistic.
            name: The layer's weight.
            seen: From how many minibatches; 0: nothing, whatever the value.
            value: The mean, or sum.
        """
        self._averages[kind][name].load_(seen, value if seen else None)

    def values(self, kind: StatisticKind) -> dict[str, Tensor]:
        """Returns the gathered statistics by layer.

        Args:
            kind: One of `kinds`.

        Returns:
            Of the weights' shapes; 0 for a layer that received no gradient. Activations broadcast to
            the weights' shapes, and layers whose activations were not seen are missing.
        """
        averages = self._averages[kind]
        if kind == "activation":
            return {n: a.value for n, a in averages.items() if a.value is not None}
        return {
            name: torch.zeros_like(self.weights[name], requires_grad=False)
            if average.value is None
            else average.value
            for name, average in averages.items()
        }

    def state_dict(self) -> dict[str, dict[str, tuple[int, np.ndarray]]]:
        """Counts and arrays for a checkpoint."""
        return {
            kind: {
                name: (average.seen, average.value.cpu().numpy().copy())
                for name, average in by_name.items()
                if average.value is not None
            }
            for kind, by_name in self._averages.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what a checkpoint holds of this gatherer's kinds; the rest starts anew."""
        for kind, by_name in self._averages.items():
            saved = state.get(kind, {})
            for name, average in by_name.items():
                seen, value = saved.get(name, (0, None))
                device = self.weights[name].device
                average.load_(
                    int(seen),
                    None if value is None else torch.from_numpy(np.array(value)).to(device),
                )
