"""The arms of the comparison of strategies: one setting apart, on cases and configuration files."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.search import ARMS, experiment
from benchmarks.shared.cases import CASES, settings_of

HALFCHEETAH = str(Path(__file__).parents[2] / "configs" / "halfcheetah.yaml")


@pytest.mark.parametrize("env", [*CASES, HALFCHEETAH])
def test_all_arms_spend_the_same_on_the_same_search(env):
    found = {arm: experiment(env, arm, 3) for arm in ARMS}
    assert len({config.name for config in found.values()}) == len(ARMS)
    for shared in ("env", "seed", "ppo", "pruning", "evaluation", "baselines"):
        assert len({repr(getattr(config, shared)) for config in found.values()}) == 1
    assert len({config.budget.env_steps for config in found.values()}) == 1
    assert {config.engine for config in found.values()} == {"packed"}


def test_the_unguided_arm_is_ours_with_random_proposals():
    ours, unguided = (experiment("Acrobot-v1", arm, 0).search for arm in ("pareto_pbt", "unguided"))
    assert unguided == ours.model_copy(update={"sampler": "random"})


def test_a_budget_of_one_s_own_shortens_a_file_s_horizon_too():
    whole, shorter = (experiment(HALFCHEETAH, "random", 0, budget) for budget in (None, 800_000))
    assert (whole.budget.env_steps, whole.horizon) == (8_000_000, 1_000_000)
    assert (shorter.budget.env_steps, shorter.horizon) == (800_000, 100_000)


def test_rows_tell_a_changed_case_or_file_from_what_it_was(tmp_path, monkeypatch):
    before = settings_of("CartPole-v1")
    assert settings_of("CartPole-v1") == before
    monkeypatch.setitem(CASES, "CartPole-v1", dataclasses.replace(CASES["CartPole-v1"], batch=256))
    assert settings_of("CartPole-v1") != before
    file = tmp_path / "halfcheetah.yaml"
    file.write_text(Path(HALFCHEETAH).read_text())
    assert settings_of(str(file)) == settings_of(HALFCHEETAH)
    file.write_text(file.read_text().replace("schedule: cubic", "schedule: iterative"))
    assert settings_of(str(file)) != settings_of(HALFCHEETAH)
    assert settings_of(HALFCHEETAH, "random") != settings_of(HALFCHEETAH, "optuna")
