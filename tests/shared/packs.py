"""Packs for tests, started, and a small environment of images."""

import gymnasium as gym
import numpy as np

from rllib_ext import PruningConfig
from rllib_ext.packed.pack import Pack

# Padding on one side more than on the other, a stride, and a layer without padding.
FILTERS = [[4, 3, 1], [6, [2, 3], [1, 2]], [5, 2, 1, "valid"]]
IMAGES = {"conv_filters": FILTERS, "conv_activation": "relu", "head_fcnet_hiddens": [12]}
PRUNING = PruningConfig(horizon=1000)


def started(ppo, members=2, *, iterations=0, pruning=PRUNING, first_seed=0, training=None, **how):
    """A pack whose members differ in nothing but their seeds, after some iterations."""
    pack = Pack(ppo, members, **how)
    for i in range(members):
        pack.start(i, training=training or {}, pruning=pruning, seed=first_seed + i)
    for _ in range(iterations):
        pack.train()
    return pack


class Images(gym.Env):
    """A ball on 6 × 5 fields that must be caught: images of its place and of the catcher's.

    Args:
        config: "actions": "discrete" or "continuous".
    """

    def __init__(self, config=None):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (6, 5, 2), np.float32)
        self._discrete = (config or {}).get("actions", "discrete") == "discrete"
        box = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(3) if self._discrete else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._row, self._catcher = 0, 2
        self._column = int(self.np_random.integers(5))
        self._left = int(self.np_random.integers(12, 18))
        return self._seen(), {}

    def step(self, action):
        move = int(action) - 1 if self._discrete else int(np.sign(np.round(action[0])))
        self._catcher = min(max(self._catcher + move, 0), 4)
        self._row, self._left = self._row + 1, self._left - 1
        caught = self._row == 5 and self._column == self._catcher
        missed = self._row == 5 and not caught
        if caught:
            self._row, self._column = 0, int(self.np_random.integers(5))
        return self._seen(), float(caught), missed, self._left == 0, {}

    def _seen(self):
        image = np.zeros((6, 5, 2), dtype=np.float32)
        image[self._row, self._column, 0] = image[5, self._catcher, 1] = 1.0
        return image


class ContinuousImages(Images):
    """The same with a continuous action."""

    def __init__(self, config=None):
        super().__init__({"actions": "continuous"})


class Nested(Images):
    """The same with observations in a dictionary."""

    def __init__(self, config=None):
        super().__init__(config)
        self.observation_space = gym.spaces.Dict({"image": self.observation_space})

    def _seen(self):
        return {"image": super()._seen()}
