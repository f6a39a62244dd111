"""MinAtar's games, as policies see them."""

import numpy as np
import pytest

from rllib_ext.envs.minatar import GAMES, MinAtar
from rllib_ext.pruning.errors import ConfigError


def played(env, seed, steps=30):
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(rng.integers(env.action_space.n))
        seen.append(observation)
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize("game", GAMES)
def test_a_game_shows_images_of_floats_and_equal_seeds_give_equal_episodes(game):
    env = MinAtar({"game": game, "max_episode_steps": 25})
    assert env.action_space.n <= 6
    # Of some seeds the first action is a sticky one.
    for seed in range(25):
        first = played(env, seed)
        assert len(first) <= 26
        assert all(env.observation_space.contains(image) for image in first)
        played(env, 99)
        env.unwrapped.game.last_action = 1
        again = played(env, seed)
        assert len(first) == len(again)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, played(env, 99), strict=False))


def test_a_game_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"game = 'pong'; expected one of asterix"):
        MinAtar({"game": "pong"})
