"""An episode as an animation: the one that was evaluated, small enough for a page, or a reason."""

import io
import sys

import gymnasium as gym
import numpy as np
import pytest
from export_policies import small

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.film import BYTES, FRAMES, WIDTH, NoFilmError, film
from rllib_ext.export.opened import untrained

PIL = pytest.importorskip("PIL.Image", reason="no Pillow: extra render")
LONG = 40


class Painted(gym.Env):
    """Lasts 40 steps; each picture is white as far as the episode has come, or noise."""

    modes = ("rgb_array",)
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None, noise=False, side=80):
        self.metadata = {"render_modes": list(self.modes), "render_fps": 10}
        self.render_mode, self.noise, self.side = render_mode, noise, side

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.taken += 1
        return np.zeros(2, np.float32), 1.0, self.taken == LONG, False, {}

    def render(self):
        shape = (self.side, 2 * self.side, 3)
        if self.noise:
            return self.np_random.integers(0, 256, shape).astype(np.uint8)
        picture = np.zeros(shape, np.uint8)
        picture[:, : 4 * self.taken] = 255
        return picture


class Mapped(Painted):
    """Takes one mapping, as RLlib passes it."""

    def __init__(self, config):
        super().__init__(render_mode=config.get("render_mode"))


class Deaf(Painted):
    """Names a render mode that it can't be asked for."""

    def __init__(self):
        super().__init__()


class Blind(Painted):
    """Renders nothing."""

    modes = ()


def filmed(env, seed=3, length=LONG, **env_config):
    config = small(env, {}).environment(env, env_config=env_config)
    return film(untrained(config).policy(), config, seed, length)


def pictures(data):
    image = PIL.open(io.BytesIO(data))
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        found.append((np.asarray(image.convert("RGB")).mean(), image.info.get("duration")))
    return found, image.size


def test_it_shows_the_episode_that_an_evaluation_plays_on_this_seed():
    config = small("CartPole-v1", {})
    policy = untrained(config).policy()
    evaluator = Evaluator(env_maker(config))
    expected = evaluator.run(policy, [11])
    evaluator.close()
    pytest.importorskip("pygame", reason="no pygame: extra render")
    found = film(policy, config, 11, expected.lengths[0])
    assert found.returned == expected.returns[0]
    assert found.steps == expected.lengths[0]
    assert found.seed == 11
    frames, size = pictures(found.moving)
    assert 2 <= len(frames) <= FRAMES + 1
    assert size == (found.width, found.height)
    assert found.width <= WIDTH
    assert len(found.moving) <= BYTES
    assert pictures(found.still)[1] == size


@pytest.mark.parametrize("env", [Painted, Mapped])
def test_pictures_are_spread_over_the_episode_to_its_end_at_its_own_pace(env):
    found = filmed(env)
    frames, _ = pictures(found.moving)
    brightness = [mean for mean, _ in frames]
    assert brightness == sorted(brightness)
    assert brightness[0] < 5
    assert brightness[-1] > 250
    assert len(frames) == LONG + 1
    assert {duration for _, duration in frames} <= {100, None}
    assert found.speed == pytest.approx(1.0, rel=0.05)


def test_a_long_episode_skips_and_one_that_lasts_longer_than_thought_ends_too():
    found = filmed(Painted, length=10 * FRAMES)
    frames, _ = pictures(found.moving)
    assert len(frames) <= 6
    assert filmed(Painted, length=1).steps == LONG


def test_pictures_that_hardly_shrink_keep_to_the_limit_all_the_same():
    found = filmed(Painted, noise=True, side=200)
    assert len(found.moving) <= BYTES


@pytest.mark.parametrize(
    ("env", "why"),
    [(Blind, "does not render pictures"), (Deaf, "takes no render_mode")],
)
def test_what_can_not_be_filmed_says_why(env, why):
    with pytest.raises(NoFilmError, match=why):
        filmed(env)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(NoFilmError, match=r"prunefront\[render\]"):
        filmed(Painted)


def test_without_what_it_draws_with_gymnasiums_own_words_are_passed_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(NoFilmError, match=r"pygame is not installed.*prunefront\[render\]"):
        filmed("CartPole-v1")
