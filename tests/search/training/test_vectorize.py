"""How a search's environments step, and what is refused."""

import pytest
from pretended_search import coordinated

from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.pruning.errors import ConfigError
from search.config.sizing import sized_as
from search.runs.preparation import prepare


def prepared(env="LunarLander-v3", **settings):
    return prepare(coordinated(env=env, **{"engine": "packed", **settings}))


def stepped(found):
    return blueprint_of(found.ppo).vectorize, found.config.vectorize


def test_a_pack_steps_as_it_is_told_and_its_results_folder_says_how():
    pytest.importorskip("envpool")
    assert stepped(prepared()) == ("envpool", "envpool")
    assert stepped(prepared(vectorize="sync")) == ("sync", "sync")
    assert stepped(prepared(env="CartPole-v1")) == ("native", "native")
    assert stepped(prepared(env="CartPole-v1", vectorize="envpool")) == ("envpool", "envpool")
    # What RLlib's own setting says holds.
    own = {"env_runners": {"gym_env_vectorize_mode": "async"}}
    assert stepped(prepared(ppo=own)) == ("async", "auto")


def test_auto_falls_back_where_envpool_is_not_installed_and_goes_on_as_it_began(monkeypatch):
    config = coordinated(env="LunarLander-v3", engine="packed")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = prepare(config)
    assert stepped(found) == ("sync", "sync")
    monkeypatch.undo()
    assert sized_as(config, found.config).vectorize == "sync"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vectorize": "envpool", "engine": "rllib"}, "RLlib's EnvRunners seed .* engine: packed"),
        ({"vectorize": "native", "engine": "rllib"}, "RLlib's EnvRunners"),
        ({"vectorize": "native"}, "native versions of Gymnasium's own"),
        ({"vectorize": "envpool", "env_config": {"gravity": -5.0}}, "env_config: gravity"),
        ({"vectorize": "envpool", "engine": "auto", "env_config": {"gravity": -5.0}}, "gravity"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(settings, message):
    with pytest.raises(ConfigError, match=message):
        prepared(**settings)


def test_the_rllib_engine_takes_its_own_modes():
    found = prepared(engine="rllib", vectorize="async")
    assert found.ppo.gym_env_vectorize_mode == "async"
    assert prepared(engine="rllib").config.vectorize == "auto"


def test_two_settings_that_say_the_same_are_refused():
    with pytest.raises(ConfigError, match="give one of them"):
        coordinated(vectorize="sync", ppo={"env_runners": {"gym_env_vectorize_mode": "async"}})
