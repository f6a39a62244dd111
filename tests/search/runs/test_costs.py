"""What a search is predicted to take, against what was measured of shipped configurations."""

from pathlib import Path

import pytest

from search.config.loading import load_config
from search.runs.costs import costs_of
from search.training.engine import engine_of
from search.training.ppo_config import build_ppo

CONFIGS = Path(__file__).parents[3] / "configs"


# CPU seconds of an env step as `benchmarks.learning` measured them on one machine of this project.
@pytest.mark.parametrize(
    ("name", "measured"),
    [("stateless_cartpole", 157.5 / 200_246), ("mountaincar_continuous", 11.3 / 200_704)],
)
def test_training_is_predicted_within_a_factor_of_two(name, measured):
    config = load_config(CONFIGS / f"{name}.yaml")
    ppo = build_ppo(config)
    # `check` times the environment itself; classic control takes about this.
    predicted = costs_of(ppo, engine_of(config, ppo), environment=10e-6).training
    assert measured / 2 < predicted < measured * 2


def test_an_lstm_makes_an_update_several_times_as_long():
    config = load_config(CONFIGS / "stateless_cartpole.yaml")
    ppo = build_ppo(config)
    engine = engine_of(config, ppo)
    plain = ppo.copy(copy_frozen=False)
    plain.rl_module(model_config={**ppo.model_config, "use_lstm": False})
    assert costs_of(ppo, engine).training > 3 * costs_of(plain, engine).training
