"""The training state beside parameters, masks and moments."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rllib_ext.pruning.training.statistics import Gatherer


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """Values that an engine adapts from update to update: PPO's KL coefficient, running statistics.

    Attributes:
        read: Returns the values in force by name, plain values and arrays.
        write: Puts such values in force, in place of those that are.
    """

    read: Callable[[], dict[str, Any]]
    write: Callable[[Mapping[str, Any]], None]


class SideState:
    """Statistics and coefficients: they go back together with the weights that they speak of.

    Args:
        gatherer: Gathers the network's statistics.
        coefficients: Those that the engine that trains the network keeps; None: it keeps none.
    """

    def __init__(self, gatherer: Gatherer, coefficients: Coefficients | None = None) -> None:
        self._gatherer = gatherer
        self._coefficients = coefficients

    def take(self) -> dict[str, Any]:
        """A copy of what stands now, in plain values and arrays."""
        own = self._coefficients
        return {
            "statistics": self._gatherer.state_dict(),
            "coefficients": {} if own is None else copy.deepcopy(own.read()),
        }

    def put_back_(self, state: Mapping[str, Any]) -> None:
        """Makes what `take` copied stand again."""
        self._gatherer.load_state_dict(state["statistics"])
        if self._coefficients is not None:
            self._coefficients.write(state["coefficients"])
