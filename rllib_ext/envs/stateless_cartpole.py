"""CartPole without its velocities, which a policy must infer from memory, and with a time limit.

RLlib's example of that name (ray/rllib/examples/envs/classes/stateless_cartpole.py) has no limit: an
episode of a policy that balances the pole does not end there.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class StatelessCartPole(gymnasium.Wrapper[Any, Any, Any, Any]):
    """CartPole that shows positions only: `env: rllib_ext.envs.stateless_cartpole:StatelessCartPole`.

    Observations have shape (2,): the cart's position and the pole's angle, within the bounds that
    CartPole-v1 gives them.

    Args:
        max_episode_steps: Env steps, > 0, after which an episode is cut if the pole is still upright.
        render_mode: Render mode of Gymnasium's CartPole; None means no rendering.
    """

    def __init__(self, max_episode_steps: int = 500, render_mode: str | None = None) -> None:
        shown = [0, 2]
        cartpole: Any = gymnasium.make(
            "CartPole-v1", max_episode_steps=max_episode_steps, render_mode=render_mode
        )
        box = cartpole.observation_space
        space = gymnasium.spaces.Box(box.low[shown], box.high[shown], dtype=np.float32)
        super().__init__(
            gymnasium.wrappers.TransformObservation(cartpole, lambda seen: seen[shown], space)
        )
