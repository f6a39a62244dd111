"""What criteria and regrowth need to know of the training, gathered while it runs.

Only what is asked for is gathered: a network that is pruned by magnitude pays nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.pruning.activations import observe_activations
from rllib_ext.pruning.criteria import Kind


class Average:
    """A running mean over about the last `window` values: exact at first, exponential afterwards.

    Args:
        window: Values that it remembers, ≥ 1; 0: all of them are summed.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.value: Tensor | None = None
        self.seen = 0

    def add_(self, value: Tensor) -> None:
        """Takes one more value, unless it isn't finite: the optimizer doesn't see that one either."""
        if not bool(torch.isfinite(value).all()):
            return
        self.seen += 1
        if self.value is None:
            self.value = value.clone()
        elif not self.window:
            self.value += value
        else:
            self.value += (value - self.value) / min(self.seen, self.window)


class Gatherer:
    """Gathers statistics of a network's weights.

    Args:
        module: The network.
        weights: Its prunable weights by name.
        kinds: What to gather.
        window: Minibatches over which means run, ≥ 1.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, nn.Parameter],
        kinds: Collection[Kind],
        window: int,
    ) -> None:
        self.kinds: tuple[Kind, ...] = tuple(sorted(set(kinds)))
        self._weights = weights
        self._names = {id(weight): name for name, weight in weights.items()}
        self._averages = {
            kind: {name: Average(0 if kind == "movement" else window) for name in weights}
            for kind in self.kinds
        }
        if "activation" in self.kinds:
            observe_activations(module, weights, self._add_activation)

    def has(self, kinds: Iterable[Kind]) -> bool:
        """Whether something of every one of these kinds has been seen."""
        return all(any(a.seen for a in self._averages[kind].values()) for kind in kinds)

    @torch.no_grad()
    def observe_gradients(self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]]) -> None:
        """Takes the gradients of one minibatch, of pruned weights too, before they are clipped."""
        kinds = [kind for kind in self.kinds if kind != "activation"]
        if not kinds:
            return
        for parameter, gradient in gradients:
            name = self._names.get(id(parameter))
            if name is None or gradient is None:
                continue
            for kind in kinds:
                self._averages[kind][name].add_(_FROM_GRADIENT[kind](parameter.detach(), gradient))

    def values(self, kind: Kind) -> dict[str, Tensor]:
        """What was gathered, by layer.

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
            name: torch.zeros_like(self._weights[name], requires_grad=False)
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
                average.seen = int(seen)
                average.value = (
                    None
                    if value is None
                    else torch.from_numpy(np.array(value)).to(self._weights[name].device)
                )

    def _add_activation(self, name: str, read: Tensor) -> None:
        self._averages["activation"][name].add_(read)


_FROM_GRADIENT = {
    "taylor": lambda weight, gradient: (weight * gradient).abs(),
    "movement": lambda weight, gradient: -weight * gradient,
    "gradient": lambda weight, gradient: gradient,
}
