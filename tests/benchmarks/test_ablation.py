import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import ablation
from benchmarks.ablation import TRAINED, arm_of, experiment, print_ablation

CONFIGS = Path(__file__).parents[2] / "configs"


def runs(gain, seeds=6):
    """Fronts of two arms: with the setting, `gain` weights of 1000 fewer keep the dense return."""
    rows = []
    for seed in range(seeds):
        for arm, fewer in (("pruning.criterion=lamp", gain), ("as it is", 0)):
            weights = 100 + seed - fewer
            front = f"99 {1 - weights / 1000} 1000;60 {1 - weights / 2000} 1000"
            rows.append({"arm": arm, "seed": seed, "front": front})
    shared = {
        "env": "E",
        "budget": 10,
        "env_steps": 10,
        "random": 0.0,
        "constant": 5.0,
        "dense": 100.0,
    }
    return pd.DataFrame(rows).assign(**shared)


def test_pruning_settings_may_go_by_their_own_names():
    assert arm_of(["criterion=lamp"]) == arm_of(["pruning.criterion=lamp"])
    assert arm_of(["b=1", "a.b=2"]) == arm_of(["a.b=2", "b=1"])
    assert arm_of([]) == "as it is"
    config = experiment("CartPole-v1", ["window=7", "ppo.training.lr=0.01"], 0, 10**5)
    assert config.pruning.window == 7
    plain = experiment("CartPole-v1", [], 0, 10**5)
    assert plain.pruning.window != 7
    assert config.budget == plain.budget
    assert config.name != plain.name


def test_a_gain_in_weights_shows_with_its_sign_and_an_interval(capsys):
    print_ablation(runs(gain=50), "pruning.criterion=lamp", "as it is", 0.95)
    lines = capsys.readouterr().out.splitlines()
    (found,) = [line for line in lines if "weights for 95%" in line]
    expected = np.mean([np.log10((100 + s) / (50 + s)) for s in range(6)])
    assert f"{expected:+.3f}" in found
    assert found.endswith("6/6")
    assert any(
        "E, 10 env steps a search (spent: 10 with, 10 without), 6 pairs" in line for line in lines
    )


def test_what_makes_no_difference_is_shown_as_that(capsys):
    print_ablation(runs(gain=0), "pruning.criterion=lamp", "as it is", 0.95)
    (found,) = [x for x in capsys.readouterr().out.splitlines() if "weights for 95%" in x]
    assert "+0.000" in found.replace("-0.000", "+0.000")
    assert found.split()[-2] == "nan"


def test_seeds_of_one_arm_alone_are_left_out(capsys):
    several = runs(gain=50)
    several = several[(several["seed"] < 4) | (several["arm"] == "as it is")]
    print_ablation(several, "pruning.criterion=lamp", "as it is", 0.95)
    assert "4 pairs" in capsys.readouterr().out


def test_a_configuration_file_is_searched_with_its_own_budget_and_a_seed_a_pair():
    file, smaller = str(CONFIGS / "halfcheetah.yaml"), ["population.members=4"]
    one, other = (experiment(file, overrides, 3, None) for overrides in ([], smaller))
    assert (one.env, one.seed, one.engine) == ("HalfCheetah-v5", 3, "packed")
    assert one.budget.env_steps == 8_000_000
    assert (one.population.members, other.population.members) == (8, 4)
    assert one.name.startswith("halfcheetah-3-")
    assert one.name != other.name
    assert experiment(file, [], 0, 10**6).budget.env_steps == 10**6


def test_an_unknown_key_is_refused():
    with pytest.raises(ValueError, match="criterio"):
        experiment("CartPole-v1", ["pruning.criterio=lamp"], 0, 10**5)


def test_arms_that_start_from_a_trained_policy_are_named_alike_wherever_it_lies(tmp_path):
    overrides = ["distil=0.5", TRAINED]
    one, other = (
        experiment("CartPole-v1", overrides, 0, 10**5, tmp_path / name) for name in ("a", "b")
    )
    assert one.init_checkpoint == str(tmp_path / "a")
    assert one.name == other.name
    assert str(tmp_path) not in arm_of(overrides)
    assert arm_of(overrides) != arm_of(["distil=0.5"])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_both_arms_of_distillation_start_from_the_policy_that_rllib_trained(
    tmp_path, monkeypatch, capsys
):
    given = (
        "ablation --trained --of distil=0.5 --both budget.horizon=4096 population.members=4 "
        "population.segments=4 evaluation.interval=1 --seeds 1 --budget 16384"
    )
    monkeypatch.setattr(sys, "argv", [*given.split(), "--output", str(tmp_path)])
    ablation.main()
    first = capsys.readouterr().out
    assert "1 pairs" in first
    rows = pd.read_csv(tmp_path / "runs.csv")
    assert ["distil" in arm for arm in rows["arm"]] == [True, False]
    assert all(TRAINED in arm for arm in rows["arm"])
    assert len(list(tmp_path.glob("CartPole-v1-0-*/initial.pkl"))) == 2
    # Both train the same dense policy on from the checkpoint.
    assert rows["dense"].nunique() == 1
    (kept,) = tmp_path.glob("CartPole-v1-0-*-dense-4096")
    before = kept.stat().st_mtime_ns
    ablation.main()
    assert kept.stat().st_mtime_ns == before
    assert capsys.readouterr().out == first[first.index("with: ") :]
