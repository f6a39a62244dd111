import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import ConfigError
from search.config.goal import GoalSettings
from search.config.loading import parse_config, parse_yaml


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({}, ""),
        ({"max_weights": 1_000}, "at most 1,000 weights"),
        ({"min_retained": 0.95}, "the fewest weights that keep 95 % of the dense policy"),
        ({"min_retained": 0.975}, "the fewest weights that keep 97.5 % of the dense policy"),
        (
            {"max_weights": 20, "min_retained": 0.9},
            "at most 20 weights that keep 90 % of the dense policy",
        ),
    ],
)
def test_a_goal_in_words(goal, words):
    settings = GoalSettings.model_validate(goal)
    assert settings.in_words == words
    assert settings.given == bool(goal)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"max_weights": 0}, r"goal\.max_weights = 0: .*greater than or equal to 1"),
        ({"min_retained": 95}, r"goal\.min_retained = 95: .*less than or equal to 2"),
        ({"min_retained": 0}, r"goal\.min_retained = 0"),
        ({"max_weight": 9}, r"'goal\.max_weight'\. Did you mean 'max_weights'\?"),
    ],
)
def test_impossible_goals_are_refused(goal, message):
    with pytest.raises(ConfigError, match=message):
        coordinated(goal=goal)


def test_a_goal_is_kept_in_the_resolved_configuration():
    config = coordinated(goal={"max_weights": 20, "min_retained": 0.9})
    assert parse_config(parse_yaml(config.to_yaml(), "it"), "it") == config
