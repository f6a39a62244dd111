"""Observations in evaluation have the form that they have in training."""

import gymnasium as gym
import numpy as np
import pytest
import tree
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_ext.envs.copied_observations import CopiedObservations

NESTED = Dict({"b": Tuple([Box(-9.0, 9.0, (2,)), Discrete(4)]), "a": Box(-1.0, 1.0, ())})


class Showing(gym.Env):
    """Shows one observation for ever."""

    def __init__(self, space, shown):
        self.observation_space, self.action_space, self.shown = space, Discrete(2), shown

    def reset(self, *, seed=None, options=None):
        return self.shown, {}

    def step(self, action):
        return self.shown, 0.0, False, False, {}


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (Box(-9.0, 9.0, (2,)), [1, 2]),
        (Box(-9.0, 9.0, (2,)), np.array([0.1, 0.2])),
        (Box(0, 255, (2, 1), np.uint8), np.ones((2, 1), np.uint8)),
        (Discrete(5), 3),
        (MultiBinary(3), [0, 1, 1]),
        (Tuple([Box(-9.0, 9.0, (2,)), Discrete(4)]), [[3, 4], 1]),
        (NESTED, {"a": 0.25, "b": [np.array([1.0, 2.0]), np.int64(2)]}),
    ],
    ids=str,
)
def test_the_form_is_that_of_gymnasiums_vectors(space, shown):
    vector = gym.vector.SyncVectorEnv([lambda: Showing(space, shown)])
    trained = unbatch(vector.reset()[0])[0]
    evaluated = CopiedObservations(Showing(space, shown)).reset()[0]
    tree.assert_same_structure(trained, evaluated)
    for one, other in zip(tree.flatten(trained), tree.flatten(evaluated), strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.shape(one) == np.shape(other)
        assert np.array_equal(one, other)
    assert space.contains(evaluated)


@pytest.mark.parametrize(
    "space", [Box(-9.0, 9.0, (2,)), Dict({"x": Box(-9.0, 9.0, (2,))})], ids=str
)
def test_what_the_environment_writes_later_changes_nothing(space):
    buffer = np.zeros(2, np.float32)
    shown = buffer if isinstance(space, Box) else {"x": buffer}
    seen = CopiedObservations(Showing(space, shown)).reset()[0]
    buffer[:] = 5.0
    assert not np.any(tree.flatten(seen)[0])
