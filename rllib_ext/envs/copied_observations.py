"""Observations as training gets them, of any environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array
from ray.rllib.utils.spaces.space_utils import unbatch


class CopiedObservations(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows observations in the form of their space, which the environment's later steps leave alone.

    RLlib steps environments as one of Gymnasium's vectors, which casts to the space's format and makes
    tuples of lists; a policy that was trained so may not understand what the environment itself gives.
    And an environment may write each observation into the same buffer: whoever reads an episode's last
    observation after the next one has begun, or stacks frames, would read what came later.
    """

    def observation(self, observation: Any) -> Any:
        """A copy, in the form of the space."""
        space = self.env.observation_space
        if isinstance(space, gymnasium.spaces.Box):
            # The same, ten times faster.
            return np.array(observation, dtype=space.dtype)
        batch = concatenate(space, [observation], create_empty_array(space, n=1))
        return unbatch(batch)[0]
