import numpy as np
import pandas as pd
import pytest

from benchmarks.shared.front_tables import (
    common_scale,
    on_common_seeds,
    print_tables,
    weights_needed,
)
from search.front.retained import scale_of

SCALE = scale_of(random=np.array([0.0]), dense=np.array([100.0]), constant=np.array([5.0]))


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
    shared = {"env": "E", "budget": 1000, "random": 0.0, "constant": 10.0, "seconds": 3.0}
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


def test_the_fewest_weights_that_keep_a_share_are_found():
    points = np.array([[100.0, 0.5, 1000.0], [96.0, 0.98, 1000.0], [94.0, 0.99, 1000.0]])
    assert weights_needed(points, SCALE, 0.95) == 20.0
    assert weights_needed(points, SCALE, 0.99) == 500.0
    assert weights_needed(points[2:], SCALE, 0.95) == 1000.0
    assert np.isnan(weights_needed(np.empty((0, 3)), SCALE, 0.95))


def test_fewer_weights_are_better_by_so_many_decades(capsys):
    """Ours keeps all with 10 of 1000 weights, the rival with 100 and with 1000."""
    rows = [
        {"seed": seed, "strategy": name, "front": f"100 {sparsity} 1000"}
        for name, levels in (("ours", (0.99, 0.99)), ("pbt", (0.9, 0.0)))
        for seed, sparsity in enumerate(levels)
    ]
    shared = {"env": "E", "budget": 1000, "random": 0.0, "constant": 10.0, "dense": 100.0}
    print_tables(pd.DataFrame(rows).assign(**shared, seconds=[1.0, 3.0, 4.0, 4.0]), "ours", 0.95)
    lines = capsys.readouterr().out.splitlines()
    title = next(i for i, line in enumerate(lines) if line.strip().startswith("weights for 95%"))
    first, second = (line.split() for line in lines[title + 2 : title + 4])
    assert first == ["ours", "10", "2"]
    assert second[:4] == ["pbt", "316", "2", "+1.500"]
    assert second[-1] == "2/2"
    assert lines[-1].strip() == "CPU seconds a search: ours 2, pbt 4"


def test_the_smallest_visible_difference_stands_beside_each(capsys):
    runs = _runs(front=[f"{kept} 0.9 1000" for kept in (90, 92, 80, 85, 70, 71)])
    print_tables(runs, "ours", 0.95)
    table = capsys.readouterr().out.partition("retained × sparsity")[2].splitlines()
    shown = {line.split()[0]: line.split()[-2] for line in table if line.split()[:1] == ["pbt"]}
    # Two pairs, whose difference varies by 0.03 × 0.9 ÷ 0.9 of what the dense policy gains.
    assert float(shown["pbt"]) > 0.1
