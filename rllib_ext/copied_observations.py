"""Observations that can be kept, of any environment."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium


class CopiedObservations(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows observations that the environment's later steps leave alone.

    An environment may write each observation into the same buffer. Whoever reads an episode's last
    observation after the next one has begun, or stacks frames, would read what came later.
    """

    def observation(self, observation: Any) -> Any:
        """A copy, nested as the observation is."""
        return copy.deepcopy(observation)
