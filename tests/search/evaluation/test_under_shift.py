"""A small search's policies under shift, held against the same episodes played by hand."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.observation_std import observation_std
from rllib_ext.evaluation.reference import RandomPolicy
from rllib_ext.policy.store import load_policy, save_policy
from rllib_ext.pruning.errors import ConfigError, ResultsError, RunError
from rllib_ext.rl.with_pruning import build_algorithm
from search.cli.main import cli
from search.config.seeds import draw
from search.evaluation.under_shift import MEASURED_EPISODES, evaluate_shifts, score_policy
from search.front.format import number
from search.front.generalisation import read_shifted
from search.report.notebook import load
from search.runs.display.json_lines import EVENTS

pytestmark = pytest.mark.ray

SHIFTS = (
    Shift(set={"gravity": 14.0}),
    Shift(noise=0.2),
    Shift(action_noise=0.3, stochastic=True),
)
SEEDS = draw(1, "report", 12)


class Heavier(CartPoleEnv):
    """Falls faster."""

    def __init__(self, config=None):
        super().__init__()
        self.gravity = 60.0


class RaisesOnce(CartPoleEnv):
    """Raises in the first step of all, and leaves a mark."""

    def __init__(self, config):
        super().__init__()
        self._mark = Path(config["mark"])

    def step(self, action):
        if not self._mark.is_file():
            self._mark.touch()
            raise ValueError("once")
        return super().step(action)


class Broken(CartPoleEnv):
    """Never takes a step."""

    def __init__(self, config=None):
        super().__init__()

    def step(self, action):
        return 1 / 0


@pytest.fixture(scope="module")
def config(small_ppo):
    return small_ppo()


@pytest.fixture
def results(simulate, config, tmp_path):
    """A results folder whose front's policies are real: a network of few steps, the same for all."""
    folder = simulate(tmp_path / "results", members=4, segments=2, per_segment=2, limit=2).folder
    algorithm = build_algorithm(config)
    try:
        algorithm.train()
        for name in ("dense", *load(folder).front["snapshot_id"]):
            save_policy(algorithm, {}, folder / "policies" / name, {})
    finally:
        algorithm.stop()
    return load(folder)


def by_hand(config, shift, policy, scale=None):
    evaluator = Evaluator(shifted_maker(config, shift, scale))
    try:
        acting = RandomPolicy(evaluator.action_space) if policy is None else policy
        return list(evaluator.run(acting, SEEDS).returns)
    finally:
        evaluator.close()


def test_every_policy_of_the_front_plays_every_shift_once(results, config):
    told = []
    evaluate_shifts(results, config, SHIFTS, SEEDS, lambda done, total: told.append((done, total)))
    records = read_shifted(results.folder)
    names = {"dense", "random", *results.front["snapshot_id"]}
    assert {(r.shift, r.policy) for r in records} == {(s.label, n) for s in SHIFTS for n in names}
    assert told[-1] == (len(names), len(names))
    found = {(r.shift, r.policy): r.returns for r in records}
    folder = results.folder / "policies" / results.front["snapshot_id"][0]
    measured = draw(1, "baseline", MEASURED_EPISODES, 2)
    dense = load_policy(results.folder / "policies" / "dense")
    scale = observation_std(dense, env_maker(config), measured)
    for shift in SHIFTS:
        policy = load_policy(folder, stochastic=shift.stochastic)
        assert found[shift.label, folder.name] == by_hand(config, shift, policy, scale)
        assert found[shift.label, "random"] == by_hand(config, shift, None, scale)
    assert {Shift.from_dict(r.settings) for r in records} == set(SHIFTS)
    # What was played on these seeds is not played again.
    before = (results.folder / "shifts.jsonl").read_text()
    again = []
    evaluate_shifts(results, config, SHIFTS, SEEDS, lambda done, total: again.append(done))
    assert again == []
    assert (results.folder / "shifts.jsonl").read_text() == before


def test_another_environments_episodes_are_not_taken_for_the_searchs_own(results, config):
    plain = Shift()
    evaluate_shifts(results, config, [plain], SEEDS, lambda done, total: None)
    elsewhere = config.copy(copy_frozen=False).environment(Heavier)
    told = []
    for _ in range(2):
        evaluate_shifts(
            results, elsewhere, [plain], SEEDS, lambda done, total: told.append(done), "my:Heavier"
        )
    assert len(told) == len(results.front) + 2
    name = results.front["snapshot_id"][0]
    found = {r.shift: r for r in read_shifted(results.folder) if r.policy == name}
    assert set(found) == {"none", "in my:Heavier"}
    policy = load_policy(results.folder / "policies" / name)
    assert found["none"].returns == by_hand(config, plain, policy)
    assert found["in my:Heavier"].returns == by_hand(elsewhere, plain, policy)
    assert found["none"].returns != found["in my:Heavier"].returns
    assert found["in my:Heavier"].settings == {"env": "my:Heavier"}


def test_an_environment_that_raises_now_and_then_is_tried_again(results, config, tmp_path):
    raising = config.copy(copy_frozen=False).environment(
        RaisesOnce, env_config={"mark": str(tmp_path / "raised")}
    )
    evaluate_shifts(results, raising, [Shift()], SEEDS, lambda done, total: None)
    assert (tmp_path / "raised").is_file()
    names = {"dense", "random", *results.front["snapshot_id"]}
    assert {r.policy for r in read_shifted(results.folder)} == names


def test_what_an_environment_raises_is_not_laid_at_the_policys_door(results, config):
    name = results.front["snapshot_id"][0]
    broken = config.copy(copy_frozen=False).environment(Broken)
    with pytest.raises(RunError, match=r"Broken.*ZeroDivisionError: division by zero"):
        score_policy(results.folder / "policies" / name, broken, Shift(), SEEDS, 0)


def test_what_cannot_be_played_is_said_before_anything_is(results, config):
    with pytest.raises(ConfigError, match="'gravitas'"):
        evaluate_shifts(results, config, [Shift(set={"gravitas": 1})], SEEDS, print)
    name = results.front["snapshot_id"][0]
    (results.folder / "policies" / name).rename(results.folder / "policies" / "elsewhere")
    with pytest.raises(ResultsError, match=name):
        evaluate_shifts(results, config, SHIFTS, SEEDS, print)


def test_an_environment_of_other_spaces_is_refused_before_anything_is_played(
    results, config, small_ppo
):
    other, said = small_ppo(env="Acrobot-v1"), r"Box\(.* \(4,\), .* those of Acrobot-v1 are"
    with pytest.raises(ConfigError, match=said):
        evaluate_shifts(results, other, SHIFTS, SEEDS, print, "Acrobot-v1")
    assert not read_shifted(results.folder)
    with pytest.raises(ConfigError, match=said):
        score_policy(results.folder / "policies" / "dense", other, SHIFTS[1], SEEDS, 0)


def test_a_single_policy_is_measured_against_the_dense_one_beside_it(results, config, tmp_path):
    name = results.front["snapshot_id"][0]
    score = score_policy(results.folder / "policies" / name, config, SHIFTS[0], SEEDS, 0)
    mean = np.mean(by_hand(config, SHIFTS[0], load_policy(results.folder / "policies" / name)))
    assert score.figures["return_mean"] == pytest.approx(mean)
    assert score.figures["episodes"] == len(SEEDS)
    dense = np.mean(by_hand(config, SHIFTS[0], load_policy(results.folder / "policies" / "dense")))
    random = np.mean(by_hand(config, SHIFTS[0], None))
    if not np.isnan(score.figures["retained"]):
        expected = (mean - random) / (dense - random)
        assert score.figures["retained"] == pytest.approx(expected)
    alone = tmp_path / "policy"
    (results.folder / "policies" / name).rename(alone)
    apart = score_policy(alone, config, SHIFTS[0], SEEDS, 0)
    assert apart.figures["return_mean"] == score.figures["return_mean"]
    assert np.isnan(apart.figures["retained"])
    assert "dense baseline has no episodes" in apart.against


def test_the_command_line_shows_the_figures_of_the_same_episodes(results, config, monkeypatch):
    monkeypatch.setattr("search.runs.session.connected", lambda address: contextlib.nullcontext())
    folder = results.folder
    name = results.front["snapshot_id"][0]
    options = ["--episodes", "12", "--seed", "1", "--set", "gravity=14.0"]
    whole = CliRunner().invoke(cli, ["evaluate", str(folder), *options], catch_exceptions=False)
    expected = np.mean(by_hand(config, SHIFTS[0], load_policy(folder / "policies" / name)))
    (line,) = (text for text in whole.stdout.splitlines() if text.startswith(name))
    assert number(expected) in line
    assert "gravity = 14, 12 episodes a policy" in whole.stdout
    assert f"report: {folder / 'report.html'}" in whole.stdout
    table = pd.read_csv(folder / "shift.csv").set_index("policy")
    assert table.loc[name, "return_mean"] == pytest.approx(expected)
    assert 'id="generalisation"' in (folder / "report.html").read_text()
    alone = CliRunner().invoke(
        cli, ["evaluate", str(folder / "policies" / name), *options], catch_exceptions=False
    )
    assert f"{name}, shift: gravity = 14" in alone.stdout
    assert f"return    {number(expected)} over 12 episodes" in alone.stdout
    assert "runs code from it" in alone.stderr


def test_scripts_hear_the_figures_as_events(results, config, monkeypatch):
    monkeypatch.setattr("search.runs.session.connected", lambda address: contextlib.nullcontext())
    name = results.front["snapshot_id"][0]
    options = ["--episodes", "12", "--seed", "1", "--set", "gravity=14.0", "--json"]
    means = {}
    for path in (results.folder, results.folder / "policies" / name):
        run = CliRunner().invoke(cli, ["evaluate", str(path), *options], catch_exceptions=False)
        told = [json.loads(line) for line in run.stdout.splitlines()]
        assert all(set(e) == {"event", "time", "elapsed", *EVENTS[e["event"]]} for e in told)
        means[told[-1]["event"]] = told[-1]
    assert means["shifted"]["shift"] == means["scored"]["shift"] == "gravity = 14"
    (row,) = (row for row in means["shifted"]["policies"] if row["policy"] == name)
    assert row["return_mean"] == pytest.approx(means["scored"]["figures"]["return_mean"])
    assert row["episodes"] == 12


def test_without_a_shift_the_episodes_are_fresh_ones(results, config, monkeypatch):
    monkeypatch.setattr("search.runs.session.connected", lambda address: contextlib.nullcontext())
    run = CliRunner().invoke(
        cli,
        ["evaluate", str(results.folder), "--episodes", "12", "--seed", "1"],
        catch_exceptions=False,
    )
    assert "12 episodes a policy" in run.stdout
    played = [r for r in read_shifted(results.folder) if r.shift == "none"]
    assert len(played) > 2
    for record in played:
        assert list(record.seeds) == list(draw(1, "fresh", 12))
    assert not set(draw(1, "fresh", 12)) & set(SEEDS)
