"""What an environment that takes one mapping asks for in vain, beside what it was given."""

import gymnasium
import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from rllib_ext.envs.unread import build_once
from rllib_ext.pruning.errors import ConfigError


class Reads(gymnasium.Env):
    """Asks for "size" in one of the ways in which a mapping can be asked."""

    def __init__(self, config):
        self.asks(config)

    def close(self):
        type(self).closed = True


WAYS = {
    "get": lambda config: config.get("size", 5),
    "in": lambda config: "size" in config,
    "pop": lambda config: config.pop("size", 5),
    "setdefault": lambda config: config.setdefault("size", 5),
}
# Whoever passes all of it on, or keeps it for later, has not missed a key.
READS_ALL = {
    "keywords": lambda config: dict(**config),
    "a copy": lambda config: dict(config),
    "merged": lambda config: {"size": 5, **config},
    "a loop": lambda config: list(config),
    "items": lambda config: list(config.items()),
    "its copy": lambda config: config.copy().get("size"),
    "kept": lambda config: None,
}


def configured(asks, **env_config):
    made = type("Maze", (Reads,), {"asks": staticmethod(asks), "closed": False})
    return PPOConfig().environment(made, env_config=env_config)


@pytest.mark.parametrize("asks", WAYS.values(), ids=WAYS)
def test_a_misspelt_key_is_refused_with_what_was_meant(asks):
    config = configured(asks, sizee=3)
    with pytest.raises(
        ConfigError, match=r"asks for 'size'.* not for 'sizee'\. Did you mean 'size'"
    ):
        build_once(config)
    assert config.env.closed
    for fine in ({"size": 3}, {}, {"goal": 3}, {"size": 3, "sizee": 4}):
        build_once(configured(asks, **fine))


def test_what_is_asked_for_without_a_default_and_is_not_there_fails_as_it_does():
    with pytest.raises(KeyError, match="size"):
        build_once(configured(lambda config: config["size"], sizee=3))


@pytest.mark.parametrize("asks", READS_ALL.values(), ids=READS_ALL)
def test_who_reads_all_or_nothing_yet_is_believed(asks):
    build_once(configured(asks, sizee=3))


def test_a_name_that_was_registered_is_looked_at_too():
    register_env("maze-unread", lambda config: configured(WAYS["get"]).env(config))
    with pytest.raises(ConfigError, match="Did you mean 'size'"):
        build_once(PPOConfig().environment("maze-unread", env_config={"sizee": 3}))


def test_keywords_and_ids_are_built():
    build_once(PPOConfig().environment("CartPole-v1"))
    with pytest.raises(ConfigError, match="has no argument 'suton'"):
        build_once(PPOConfig().environment("CartPole-v1", env_config={"suton": 1}))


def test_a_name_of_more_words_is_another_one():
    build_once(configured(lambda config: config.get("action_space"), full_action_space=False))
    with pytest.raises(ConfigError, match="Did you mean 'action_space'"):
        build_once(configured(lambda config: config.get("action_space"), acton_space=False))
