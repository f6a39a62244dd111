import argparse
import dataclasses
import math
from pathlib import Path

import pytest

from benchmarks import learning
from benchmarks.shared.learning_table import (
    FIELDS,
    Plan,
    append_rows,
    missing,
    print_table,
    read_rows,
    row,
)
from rllib_ext.evaluation.evaluator import Episodes

CONFIGS = Path(__file__).parents[2] / "configs"
PLAN = Plan(
    env="CartPole-v1",
    checkpoints={100: 2, 200: 4},
    training={"lr": 1e-3},
    model={"fcnet_hiddens": [8]},
    envs=4,
)


def _run(plan, engine, seed, end):
    marks = [m for m in plan.checkpoints if m <= end]
    return [row(plan, engine, seed, mark, mark, 100.0 + seed, 4, 1.0) for mark in marks]


def _table(tmp_path, rllib, packed, random=20.0):
    """A table with mean returns at the end, by seed."""
    table = tmp_path / "learning.csv"
    append_rows(table, [row(PLAN, "random", 0, PLAN.last, 0, random, 4, 0.0)])
    for engine, means in (("rllib", rllib), ("packed", packed)):
        for seed, mean in enumerate(means):
            for mark in PLAN.checkpoints if math.isfinite(mean) else [PLAN.last]:
                append_rows(table, [row(PLAN, engine, seed, mark, mark, mean, 4, 1.0)])
    return read_rows(table)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"lr": 2e-3}},
        {"checkpoints": {100: 2, 200: 5}},
        {"checkpoints": {200: 4}},
        {"checkpoints": {1000: 2, 2000: 4}},
        {"envs": 8},
    ],
)
def test_a_row_of_other_settings_is_not_taken_for_a_finished_run(tmp_path, changes):
    table = tmp_path / "learning.csv"
    append_rows(table, _run(dataclasses.replace(PLAN, **changes), "packed", 0, 10**6))
    assert missing(read_rows(table), PLAN, "packed", range(2)) == [0, 1]


def test_a_seed_is_done_with_its_last_checkpoint(tmp_path):
    table = tmp_path / "learning.csv"
    append_rows(table, [*_run(PLAN, "packed", 0, 200), *_run(PLAN, "packed", 1, 100)])
    assert missing(read_rows(table), PLAN, "packed", range(3)) == [1, 2]
    assert missing(read_rows(table), PLAN, "rllib", range(1)) == [0]


def test_a_table_with_other_columns_is_refused(tmp_path):
    table = tmp_path / "learning.csv"
    table.write_text("env,engine\nCartPole-v1,rllib\n")
    with pytest.raises(SystemExit, match="--output"):
        read_rows(table)


def test_failed_seeds_are_counted_and_left_out(tmp_path, capsys):
    rows = _table(tmp_path, [100.0, 101.0, 102.0], [100.0, 101.0, math.nan, 102.0])
    capsys.readouterr()
    print_table(PLAN, rows)
    told = capsys.readouterr().out
    assert "packed 1 of 4 seeds" in told
    assert told.count("(3)") == 2 * len(PLAN.checkpoints)
    assert "±10%" in told
    assert "NOT" not in told


def test_returns_without_variance_give_no_verdict(tmp_path, capsys):
    rows = _table(tmp_path, [100.0, 100.0], [100.0, 100.0])
    capsys.readouterr()
    print_table(PLAN, rows)
    told = capsys.readouterr().out
    assert "no variance" in told
    assert "no verdict" in told
    assert "within" not in told


def test_a_dense_policy_no_better_than_random_says_why_there_is_no_scale(tmp_path, capsys):
    rows = _table(tmp_path, [20.0, 20.0], [30.0, 31.0])
    capsys.readouterr()
    print_table(PLAN, rows)
    assert "not clearly above the random policy" in capsys.readouterr().out


class _Pack:
    """A pack whose member in the second place fails in its second iteration."""

    def __init__(self, ppo, members):
        self._left, self._done = set(range(members)), 0

    def start(self, member, **settings):
        pass

    def train(self):
        self._done += 50
        failed = 1 if self._done == 100 else None
        told = {
            place: {"env_steps": self._done, "failure": "not finite" if place == failed else ""}
            for place in self._left
        }
        self._left.discard(failed)
        return told

    def evaluate(self, seeds):
        assert set(seeds) <= self._left
        return {p: Episodes(tuple(s), (7.0,) * len(s), (1,) * len(s)) for p, s in seeds.items()}

    def close(self):
        pass


def test_a_member_that_fails_does_not_end_its_pack(monkeypatch):
    monkeypatch.setattr(learning, "Pack", _Pack)
    rows = learning.train_packed(PLAN, None, [5, 6, 7])
    assert all(set(one) == set(FIELDS) for one in rows)
    told = {(r["seed"], r["checkpoint"]): r["return_mean"] for r in rows}
    assert {key for key, mean in told.items() if mean == 7.0} == {
        (5, 100), (5, 200), (7, 100), (7, 200),
    }  # fmt: skip
    assert math.isnan(told[6, 200])
    assert len(rows) == 5


@pytest.mark.ray
def test_an_algorithm_whose_weights_are_not_finite_has_failed(small_ppo):
    algorithm = small_ppo().build_algo()
    try:
        assert learning._train_once(algorithm) is not None
        for weight in algorithm.learner_group._learner._params.values():
            weight.data.fill_(math.nan)
        algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=algorithm.learner_group
        )
        assert learning._train_once(algorithm) is None
    finally:
        algorithm.stop()


def _asked(**changes):
    given = {"scale": 1.0, "checkpoints": 2, "episodes": 4, "episodes_before": 2, **changes}
    return argparse.Namespace(**given)


def test_a_configuration_file_is_trained_over_its_own_horizon():
    plan, ppo = learning.of_file(CONFIGS / "pendulum.yaml", _asked())
    assert plan.env == "Pendulum-v1"
    assert plan.checkpoints == {100_000: 2, 200_000: 4}
    assert ppo.num_envs_per_env_runner == plan.envs == 4
    assert ppo.lr == [[0, 1e-3], [200_000, 0.0]]


def test_a_longer_training_stretches_what_falls_over_the_horizon():
    plan, ppo = learning.of_file(CONFIGS / "pendulum.yaml", _asked(scale=1.5))
    assert plan.last == 300_000
    assert ppo.lr == [[0, 1e-3], [300_000, 0.0]]


def test_files_that_train_otherwise_have_other_settings():
    hopper, walker = (
        learning.of_file(CONFIGS / name, _asked())[0] for name in ("hopper.yaml", "walker2d.yaml")
    )
    slower = dataclasses.replace(hopper, training={**hopper.training, "gradient": "slow"})
    assert len({hopper.settings, walker.settings, slower.settings}) == 3


def test_a_network_with_memory_is_trained_by_rllib_alone():
    plan, _ = learning.of_file(CONFIGS / "stateless_cartpole.yaml", _asked())
    assert plan.engines == ("rllib",)


def test_one_engine_alone_shows_its_returns(tmp_path, capsys):
    rows = _table(tmp_path, [], [100.0, 110.0, 120.0])
    capsys.readouterr()
    print_table(PLAN, rows)
    told = capsys.readouterr().out
    assert "110.0 ± 10.0 (3)" in told
    # t(0.975, 2) · 10 / √3 = 24.84
    assert "85.2 to 134.8" in told
