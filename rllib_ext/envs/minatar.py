"""MinAtar's games with observations in floats; needs the extra `minatar`.

Young & Tian 2019, MinAtar (arXiv 1903.03176): five Atari games on 10 × 10 fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from rllib_ext.base.extras import install
from rllib_ext.pruning.errors import ConfigError

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class MinAtar(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A MinAtar game with its minimal set of actions: `env: rllib_ext.envs.minatar:MinAtar`.

    Observations are images of 10 × 10 × channels, 0 or 1, as floats, because RLlib's layers fail on
    MinAtar's own boolean ones. Equal seeds give equal episodes, whereas MinAtar itself now and then
    repeats an episode's last action as the first one of the next.

    Args:
        config: "game", one of `GAMES` (default "breakout"); "max_episode_steps" (default 2,000), because
            MinAtar has no time limit.

    Raises:
        ConfigError: There is no such game or key, or MinAtar isn't installed.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        usual = {"game": "breakout", "max_episode_steps": 2_000}
        settings = {**usual, **(config or {})}
        for key in settings.keys() - usual.keys():
            raise ConfigError(f"env_config: {key!r}; expected keys {', '.join(usual)}.")
        game = settings["game"]
        if game not in GAMES:
            raise ConfigError(f"game = {game!r}; expected one of {', '.join(GAMES)}.")
        try:
            from minatar.gym import BaseEnv
        except ImportError as error:
            raise ConfigError(
                f"MinAtar isn't installed. Install it: {install('minatar')}."
            ) from error
        limited = gymnasium.wrappers.TimeLimit(
            BaseEnv(game=game, use_minimal_action_set=True),
            max_episode_steps=int(settings["max_episode_steps"]),
        )
        super().__init__(gymnasium.wrappers.DtypeObservation(limited, np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Resets the environment as in Gymnasium, and clears MinAtar's last action."""
        game: Any = self.unwrapped
        game.game.last_action = 0
        return self.env.reset(seed=seed, options=options)
