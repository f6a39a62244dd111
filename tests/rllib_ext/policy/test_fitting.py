"""Whether a policy fits an environment, by the spaces that its connectors know."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from ray.rllib.connectors.env_to_module import EnvToModulePipeline

from rllib_ext.policy.fitting import refuse_other_spaces
from rllib_ext.pruning.errors import ConfigError


class Spaces(gym.Env):
    """Nothing but its spaces."""

    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions


def look(own, found):
    pipeline = EnvToModulePipeline(*own, connectors=[])
    refuse_other_spaces(pipeline, lambda: Spaces(*found), "Theirs-v0")


THREE = Box(-1, 1, (3,), np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (THREE, Box(-9, 5, (3,), np.float64)),
        (Discrete(4), Discrete(4, start=1)),
        (MultiDiscrete([2, 3]), MultiDiscrete([2, 3])),
        (MultiBinary(3), MultiBinary(3)),
        (Dict(a=THREE, b=Discrete(2)), Dict(b=Discrete(2), a=Box(0, 1, (3,), np.float32))),
        (Tuple((THREE, Discrete(2))), Tuple((THREE, Discrete(2)))),
    ],
)
def test_bounds_and_number_formats_may_differ(ours, theirs):
    look((ours, ours), (theirs, theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (THREE, Box(-1, 1, (4,), np.float32)),
        (THREE, Box(-1, 1, (3, 1), np.float32)),
        (Discrete(4), Discrete(3)),
        (MultiDiscrete([2, 3]), MultiDiscrete([3, 2])),
        (MultiBinary(3), Box(0, 1, (3,), np.int8)),
        (Dict(a=THREE), Dict(b=THREE)),
        (Dict(a=THREE), Dict(a=THREE, b=THREE)),
        (Tuple((THREE, Discrete(2))), Tuple((Discrete(2), THREE))),
        (Tuple((THREE,)), THREE),
    ],
)
def test_another_shape_is_refused_as_observations_and_as_actions(ours, theirs):
    with pytest.raises(ConfigError, match=r"observations are .* those of Theirs-v0 are .*--env"):
        look((ours, THREE), (theirs, THREE))
    with pytest.raises(ConfigError, match=r"actions are .* those of Theirs-v0 are .*--env"):
        look((THREE, ours), (THREE, theirs))
