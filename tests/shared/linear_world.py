"""An environment whose best policy is linear, or a stump, in what is observed."""

import gymnasium as gym
import numpy as np


class Aim(gym.Env):
    """Each step shows a point; the reward is how near the action comes to a linear function of it.

    With discrete actions the reward is 1 for the sign of that function. Nothing that is done changes
    what comes next, so that the best policy is that function itself.

    Args:
        config: "continuous": whether actions are numbers; "scale": by what observations are larger.
    """

    WEIGHTS = np.array([0.5, 0.0, -0.25], np.float32)
    STEPS = 20

    def __init__(self, config=None):
        config = config or {}
        self._continuous = bool(config.get("continuous", False))
        self._scale = float(config.get("scale", 1.0))
        self.observation_space = gym.spaces.Box(-100.0, 100.0, (3,), np.float32)
        box = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = box if self._continuous else gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = self.STEPS
        return self._next(), {}

    def step(self, action):
        aim = float(self.WEIGHTS @ self._point)
        if self._continuous:
            reward = 1.0 - abs(float(np.asarray(action).reshape(-1)[0]) - aim)
        else:
            reward = float(int(action) == (aim > 0))
        self._left -= 1
        return self._next(), reward, False, self._left == 0, {}

    def _next(self):
        self._point = self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)
        return self._scale * self._point


class Seen(gym.Env):
    """What linear policies and trees are not made for: a picture, or a dict."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        picture = gym.spaces.Box(0.0, 1.0, (16, 16, 1), np.float32)
        point = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        kinds = {"picture": picture, "dict": gym.spaces.Dict({"a": point, "b": point})}
        self.observation_space = kinds[(config or {}).get("kind", "picture")]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}
