import pandas as pd
import pytest

from benchmarks.shared.front_tables import common_scale, on_common_seeds, print_tables


def _runs(**changes):
    """Two seeds of two strategies, one with a longer horizon, hence another dense policy."""
    rows = [
        {"seed": seed, "strategy": name, "dense": dense + seed, "front": f"{kept} 0.9 1000"}
        for name, dense, kept in (
            ("ours", 100.0, 90.0),
            ("pbt", 100.0, 80.0),
            ("optuna", 80.0, 70.0),
        )
        for seed in (0, 1)
    ]
    shared = {"env": "E", "budget": 1000, "random": 0.0, "constant": 10.0}
    return pd.DataFrame(rows).assign(**{**shared, **changes})


def test_a_dense_policy_that_several_strategies_share_counts_once():
    assert common_scale(_runs()).dense == pytest.approx((100 + 101 + 80 + 81) / 4)


def test_means_are_of_the_seeds_that_all_strategies_have(capsys):
    runs = _runs()
    runs = runs[(runs.strategy != "optuna") | (runs.seed == 1)]
    assert set(on_common_seeds(runs).seed) == {1}
    print_tables(runs, "ours", 0.95)
    told = capsys.readouterr().out
    assert "2 of 5 rows left out" in told
    assert "Bonferroni 95% interval" in told
    assert "Holm p" in told


def test_no_seed_in_common_is_said_and_nothing_is_compared(capsys):
    runs = _runs()
    print_tables(runs[(runs.strategy == "ours") == (runs.seed == 0)], "ours", 0.95)
    told = capsys.readouterr().out
    assert "rows left out" in told
    assert "hypervolume" not in told


def test_a_dense_policy_no_better_than_random_says_why_there_is_no_scale(capsys):
    print_tables(_runs(random=120.0), "ours", 0.95)
    told = capsys.readouterr().out
    assert "not clearly above the random policy" in told
    assert "hypervolume" not in told
