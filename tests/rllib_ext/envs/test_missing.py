"""Environments that aren't there: what is recommended helps, and nothing is that doesn't."""

import sys

import gymnasium
import pytest
from gymnasium.error import DependencyNotInstalled

from rllib_ext.envs.missing import missing_hint


def hint(name):
    """What is said of an environment that can't be built here."""
    with pytest.raises((gymnasium.error.Error, ImportError)) as raised:
        gymnasium.make(name)
    return missing_hint(name, raised.value)


@pytest.mark.parametrize("name", ["CartPol-v1", "HalfChetah-v5", "cartpole", "NoSuchThing-v0"])
def test_a_misspelt_id_recommends_no_package(name):
    """Gymnasium itself names the nearest id where there is one."""
    assert hint(name) == ""


def test_a_version_that_is_not_there_names_the_newest_that_is():
    assert hint("CartPole-v7") == " Did you mean 'CartPole-v1'?"


@pytest.mark.parametrize("name", ["ALE/Pong-v5", "PongNoFrameskip-v4", "ALE/Pong-ram-v5"])
def test_an_atari_game_recommends_ale_py_and_the_name_that_imports_it(name):
    assert hint(name).endswith(f"pip install ale-py, and name it env: 'ale_py:{name}'.")


def test_an_atari_game_by_its_package_recommends_ale_py(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)  # as where it isn't installed
    assert "pip install ale-py, and name it env: 'ale_py:ALE/Pong-v5'." in hint(
        "ale_py:ALE/Pong-v5"
    )


def test_a_game_of_minatar_names_the_class_and_its_argument():
    assert "env_config: {game: breakout}" in hint("MinAtar/Breakout-v1")


def test_another_namespace_says_how_its_package_is_named():
    assert "'its_package:Mine/Maze-v0'" in hint("Mine/Maze-v0")


@pytest.mark.parametrize(
    ("name", "extra"),
    [("LunarLander-v3", "box2d"), ("HalfCheetah-v5", "mujoco"), ("CartPole-v1", "")],
)
def test_what_an_environment_needs_is_the_extra_that_brings_it(name, extra):
    said = missing_hint(name, DependencyNotInstalled("a package is not installed"))
    assert (f"'prunefront[{extra}]'" in said) if extra else said == ""
