"""Shorthand for what RLlib says at length: schedules over a horizon, and preprocessing."""

import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import ConfigError

LR = {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"}


def config_of(training, **changes):
    return coordinated(ppo={"training": training}, **changes)


def test_a_line_ends_with_the_horizon_whatever_the_budget_is():
    line = {
        "lr": {"from": 3e-4, "to": 0},
        "entropy_coeff": {"from": 0.01, "to": 0.002},
        "gamma": 0.9,
    }
    for horizon in (4_000, 90_000):
        config = config_of(line, budget={"env_steps": 1_000_000, "horizon": horizon})
        assert config.ppo.methods(config.horizon)["training"] == {
            "lr": [[0, 3e-4], [horizon, 0.0]],
            "entropy_coeff": [[0, 0.01], [horizon, pytest.approx(0.002)]],
            "gamma": 0.9,
        }


def test_a_searched_value_is_where_the_member_s_line_begins():
    config = config_of(
        {"lr": {"from": 4e-4, "to": 1e-4}, "entropy_coeff": {"from": 0, "to": 0.01}},
        search={"strategy": "pareto_pbt", "space": {"training.lr": LR}},
    )
    (first, last) = config.training_with({"training.lr": 2e-3, "pruning.begin": 0.1})["lr"]
    assert first == [0, 2e-3]
    assert last == [config.horizon, pytest.approx(5e-4)]
    # Nothing scales a line that begins at 0.
    entropy = config.training_with({"training.entropy_coeff": 0.02})["entropy_coeff"]
    assert entropy == [[0, 0.02], [config.horizon, 0.01]]
    assert config_of({"lr": 1e-3}).training_with({"training.lr": 2e-3}) == {"lr": 2e-3}


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"lr": {"from": 3e-4}}, "training.lr = .*from: 3e-4, to: 0"),
        ({"lr": {"from": 3e-4, "to": -1}}, "numbers of 0 or more"),
        ({"lr": {"from": True, "to": 0}}, "numbers of 0 or more"),
        ({"entropy_coeff": {"from": "much", "to": 0}}, "numbers of 0 or more"),
        ({"gamma": {"from": 0.9, "to": 0.99}}, "only lr and entropy_coeff"),
    ],
)
def test_a_line_that_is_none_is_refused(training, told):
    with pytest.raises(ConfigError, match=told):
        config_of(training)


@pytest.mark.parametrize(
    "wrong",
    [{"normalize": "all"}, {"frame_stack": 0}, {"clip_obs": 0}, {"clip_reward": float("nan")}],
)
def test_preprocessing_that_means_nothing_is_refused_by_its_key(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"ppo.preprocess.{name}"):
        coordinated(ppo={"preprocess": wrong})
