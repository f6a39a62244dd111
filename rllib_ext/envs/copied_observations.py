"""A wrapper that gives any environment's observations in the form in which training gets them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array
from ray.rllib.utils.spaces.space_utils import unbatch


class CopiedObservations(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Copies observations into the form of their space, so that later steps leave them unchanged.

    RLlib steps environments in one of Gymnasium's vector environments, which cast observations to the
    space's format and turn lists into tuples; a policy trained on those may not understand what the
    environment itself returns. Also, an environment may write each observation into the same buffer:
    code that reads an episode's last observation after the next episode has begun, or that stacks
    frames, would read later values.
    """

    def observation(self, observation: Any) -> Any:
        """Returns a copy, in the form of the space."""
        space = self.env.observation_space
        if isinstance(space, gymnasium.spaces.Box):
            # Equivalent to the general case below, and ten times faster.
            return np.array(observation, dtype=space.dtype)
        batch = concatenate(space, [observation], create_empty_array(space, n=1))
        return unbatch(batch)[0]
