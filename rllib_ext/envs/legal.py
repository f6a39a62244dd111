"""Finds the actions that an environment allows, if its observations show them.

RLlib's convention is a dict observation with the key "action_mask", 1 where an action of a Discrete
space is allowed (ray/rllib/examples/envs/classes/action_mask_env.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

MASK = "action_mask"


def legal_mask(observation: Any, space: gymnasium.Space[Any]) -> np.ndarray[Any, Any] | None:
    """Returns 1 for each allowed action of a discrete space, or None if there is no such mask.

    Args:
        observation: The environment's observation, before any connector.
        space: The action space.
    """
    if not isinstance(observation, Mapping) or MASK not in observation:
        return None
    mask = np.asarray(observation[MASK])
    if not isinstance(space, gymnasium.spaces.Discrete) or mask.shape != (int(space.n),):
        return None
    return (mask > 0.5).astype(np.int8)


def sampled(space: gymnasium.Space[Any], observation: Any) -> Any:
    """Returns a uniformly drawn action, from the allowed ones if the observation shows them."""
    mask = legal_mask(observation, space)
    return space.sample() if mask is None else space.sample(mask)


def nearest_legal(action: Any, space: gymnasium.Space[Any] | None, observation: Any) -> Any:
    """Returns the action if it is allowed or there is no mask, otherwise the nearest allowed one."""
    mask = None if space is None else legal_mask(observation, space)
    if mask is None or not mask.any():
        return action
    discrete: Any = space
    allowed = np.flatnonzero(mask) + discrete.start
    return allowed[np.abs(allowed - int(action)).argmin()]
