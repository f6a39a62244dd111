"""Images of bytes come as floats from 0 to 1; nothing else is changed."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rllib_ext.envs.float_images import FloatImages
from rllib_ext.pruning.errors import ConfigError


class Camera(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (4, 5, 1), np.uint8)
    action_space = spaces.Discrete(2)

    def __init__(self, shade=51):
        self.shade = shade

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((4, 5, 1), self.shade, np.uint8), {"seed": seed}

    def step(self, action):
        return np.full((4, 5, 1), 255, np.uint8), float(action), True, False, {}


NAME = f"{__name__}:Camera"


def test_bytes_are_floats_from_0_to_1_and_all_else_stays():
    env = FloatImages({"env": NAME, "shade": 102})
    assert env.observation_space == spaces.Box(0.0, 1.0, (4, 5, 1), np.float32)
    first, info = env.reset(seed=3)
    assert first.dtype == np.float32
    assert env.observation_space.contains(first)
    np.testing.assert_allclose(first, 0.4)
    assert info == {"seed": 3}
    last, reward, terminated, truncated, _ = env.step(1)
    np.testing.assert_array_equal(last, 1.0)
    assert (reward, terminated, truncated) == (1.0, True, False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "env = None; expected the environment whose images"),
        ({"env": "CartPole-v1"}, "expected bytes"),
        ({"env": "no_such_module:Camera"}, "cannot be imported"),
        ({"env": NAME, "shadow": 1}, "no argument 'shadow'. Did you mean 'shade'"),
    ],
)
def test_what_it_cannot_wrap_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        FloatImages(config)
