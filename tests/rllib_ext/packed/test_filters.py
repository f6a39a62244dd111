"""Filters of all members against RLlib's MeanStdFilter, one a member."""

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

from rllib_ext.packed.filters import Filters, filter_among
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.stack_frames import StackFrames

BOX = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)


def connector(space=BOX, **settings):
    made = MeanStdFilter(**settings)
    made.input_observation_space = space
    made.reset_state()
    return made


@pytest.mark.parametrize("settings", [{}, {"clip_by_value": 0.7}, {"de_std_to_one": False}])
def test_each_member_s_observations_are_normalised_as_by_a_filter_of_its_own(settings):
    rng = np.random.default_rng(0)
    filters = Filters(connector(**settings), 2, (3,))
    references = [connector(**settings)._filters[None] for _ in range(2)]
    for turn in range(25):
        if turn % 5 == 0:
            observations = rng.normal(2.0, 3.0, size=(2, 3)).astype(np.float32)
            found = filters.see(1, observations)
            expected = [references[1](o) for o in observations]
        else:
            observations = rng.normal(-1.0, 5.0, size=(2 * 4, 3)).astype(np.float32)
            found = filters.see_all(observations)
            expected = [references[i // 4](o) for i, o in enumerate(observations)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.dtype == np.float32


def test_statistics_go_into_rllib_s_connector_and_onto_other_members():
    rng = np.random.default_rng(1)
    filters = Filters(connector(), 3, (3,))
    filters.see_all(rng.normal(4.0, 2.0, size=(3 * 5, 3)))
    plain = connector()
    plain.set_state(filters.state(1))
    filters.load(2, filters.state(1))
    observation = rng.normal(4.0, 2.0, size=(1, 3)).astype(np.float32)
    expected = plain._filters[None](observation[0])
    np.testing.assert_allclose(filters.see(2, observation)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(filters.see(1, observation)[0], expected, rtol=1e-5)
    assert not np.allclose(filters.see(0, observation)[0], expected)
    filters.restart(1)
    # A first value is its own mean.
    assert not filters.see(1, observation).any()


def test_an_image_is_normalised_place_by_place():
    space = gym.spaces.Box(-np.inf, np.inf, (2, 3, 2), np.float32)
    rng = np.random.default_rng(2)
    filters = Filters(connector(space), 2, space.shape)
    reference = connector(space)
    for _ in range(5):
        images = rng.normal(1.0, 2.0, size=(2 * 3, *space.shape)).astype(np.float32)
        found = filters.see_all(images)
        expected = [reference._filters[None](image) for image in images[3:]]
        np.testing.assert_allclose(found[3:], np.stack(expected).reshape(3, -1), rtol=1e-5)
    reference.set_state(filters.state(1))
    filters.load(0, filters.state(1))
    expected = reference._filters[None](images[0], update=False)
    np.testing.assert_allclose(
        filters.normalised(np.array([0]), images[:1])[0], expected.ravel(), rtol=1e-5
    )


def test_without_a_filter_observations_pass_as_they_are():
    filters = Filters(None, 2, (3,))
    observations = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(filters.see_all(observations), observations)
    assert filters.see(0, observations).dtype == np.float32
    assert filters.state(1) == {}


def test_connectors_that_are_no_single_filter_are_refused():
    assert filter_among([]) == (None, 1)
    single, frames = connector(), StackFrames(num_frames=3)
    assert filter_among([single]) == (single, 1)
    assert filter_among([single, frames]) == (single, 3)
    assert filter_among([frames]) == (None, 3)
    frozen = [MeanStdFilter(update_stats=False)]
    with pytest.raises(
        ConfigError, match=r"adds MeanStdFilter\(update_stats=False\).*rllib engine"
    ):
        filter_among(frozen)
    for others in (
        [single, connector()],
        [frames, single],
        [FlattenObservations(BOX, gym.spaces.Discrete(2))],
    ):
        with pytest.raises(ConfigError, match="one MeanStdFilter"):
            filter_among(others)
