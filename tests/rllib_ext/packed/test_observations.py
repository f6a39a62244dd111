"""Observations of any space: as rows of numbers and back, and as RLlib's connector flattens them."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
import tree
from gymnasium import spaces
from own_policies import Places
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_ext.packed.carried import carried_by, flattening_among
from rllib_ext.packed.observations import (
    raveled,
    raveled_batch,
    refuse_observations,
    unraveled,
    width_of,
)

# Keys out of order, and shapes of no, one and several dimensions.
SPACE = spaces.Dict(
    {
        "z": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
        "a": spaces.Tuple((spaces.Discrete(5, start=-2), spaces.Box(-9.0, 9.0, (), np.float64))),
        "m": spaces.MultiDiscrete([3, 4]),
        "b": spaces.MultiBinary(3),
        "i": spaces.Box(0, 255, (2, 2, 1), np.uint8),
    }
)


class Anything(gym.Env):
    """Observations of a space, drawn."""

    action_space = spaces.Discrete(2)

    def __init__(self, space=SPACE):
        self.observation_space = copy.deepcopy(space)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize("space", [SPACE, SPACE["z"], SPACE["a"][0], SPACE["i"]])
def test_rows_hold_all_of_observations(space):
    refuse_observations(space)
    space.seed(0)
    seen = [space.sample() for _ in range(4)]
    rows = np.stack([raveled(space, observation) for observation in seen])
    assert rows.shape == (4, width_of(space))
    assert rows.dtype == np.float32
    found = unraveled(space, torch.from_numpy(rows))
    for i, observation in enumerate(seen):
        own = tree.map_structure(lambda values, i=i: values[i], found)
        tree.assert_same_structure(own, observation)
        for value, expected in zip(tree.flatten(own), tree.flatten(observation), strict=True):
            expected = np.asarray(expected)
            assert value.shape == expected.shape
            assert value.is_floating_point() == (expected.dtype.kind == "f")
            np.testing.assert_array_equal(value.numpy(), expected.astype(np.float32))
    assert torch.equal(raveled_batch(space, found), torch.from_numpy(rows))


def as_rllib_flattens(connector, space, observation):
    episode = SingleAgentEpisode(observation_space=space, action_space=spaces.Discrete(2))
    episode.add_env_reset(observation)
    connector(rl_module=None, batch={}, episodes=[episode], explore=False, shared_data={})
    return episode.get_observations(-1)


@pytest.mark.parametrize("removed", [None, ["a", "i"]])
def test_flattened_environments_show_what_rllib_s_connector_makes(removed):
    connector = FlattenObservations(SPACE, spaces.Discrete(2), keys_to_remove=removed)
    found, rest = flattening_among([connector, "another"])
    assert (found, rest) == (connector, ["another"])
    env = carried_by(Anything, SPACE, found)()
    other = Anything()
    assert env.observation_space.shape == connector.observation_space.shape
    seen, expected = env.reset(seed=3)[0], other.reset(seed=3)[0]
    for _ in range(4):
        np.testing.assert_array_equal(seen, as_rllib_flattens(connector, SPACE, expected))
        assert seen in env.observation_space
        seen, expected = env.step(0)[0], other.step(0)[0]


def test_what_comes_first_flattens_and_nothing_else():
    connector = FlattenObservations(multi_agent=True)
    assert flattening_among([connector]) == (None, [connector])
    assert flattening_among(["a", "b"]) == (None, ["a", "b"])
    assert flattening_among([]) == (None, [])


def test_only_nested_observations_are_carried_otherwise():
    assert carried_by(Anything, SPACE["z"], None) is Anything
    env = carried_by(Places, Places().observation_space, None)()
    seen, _ = env.reset(seed=0)
    assert seen in env.observation_space
    # In the space's order, whatever the environment's.
    np.testing.assert_array_equal(seen[1:], np.array([0.0, 1.0], dtype=np.float32))
