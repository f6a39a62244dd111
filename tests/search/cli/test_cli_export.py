"""`prunefront export`: what it refuses, and a policy out of Ray."""

import json

import pytest
from click.testing import CliRunner

from rllib_ext.export import load
from rllib_ext.pruning.errors import CheckpointError, ConfigError, ResultsError
from search.cli.main import cli
from search.front.read_results import read_results
from search.runs.export import front_row


def run(*words):
    return CliRunner().invoke(cli, ["export", *map(str, words)])


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--episodes", "1"], "episodes = 1"), (["--seed", "-1"], "seed = -1")],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(options, said, finished):
    found = run(finished.folder, "--format", "c", *options)
    assert isinstance(found.exception, ConfigError)
    assert said in str(found.exception)


def test_a_format_is_asked_for(finished):
    assert "--format" in run(finished.folder).output


def test_a_point_that_is_not_on_the_front_is_refused(finished):
    found = run(finished.folder, "--format", "c", "--point", "m99")
    assert isinstance(found.exception, ResultsError)
    assert "'m99'" in str(found.exception)
    assert "keeps_95" in str(found.exception)


def test_the_sparsest_that_keeps_95_percent_is_the_default(finished):
    results = read_results(finished.folder)
    wanted = results.confirmed.pick("keeps_95")
    assert wanted
    for name in results.front["snapshot_id"]:
        (finished.folder / "policies" / name).mkdir(parents=True, exist_ok=True)
    assert front_row(results, None)["snapshot_id"] == wanted
    assert front_row(results, "keeps_95")["snapshot_id"] == wanted
    assert front_row(results, wanted)["snapshot_id"] == wanted


def test_a_folder_that_is_nothing_is_refused(tmp_path):
    found = run(tmp_path, "--format", "c")
    assert isinstance(found.exception, CheckpointError)


def test_a_notebook_is_told_how_to_export(finished):
    results = read_results(finished.folder)
    with pytest.raises(ResultsError, match="prunefront export"):
        results.policy("keeps_95")
    with pytest.raises(ResultsError, match="no point 'best'"):
        results.policy("best")


@pytest.mark.ray
def test_a_checkpoint_that_never_saw_this_tool_is_exported(ppo_checkpoint, tmp_path):
    found = run(
        ppo_checkpoint, "--format", "numpy", "--format", "c", "--output", tmp_path, "--episodes", "5",
        "--no-measure",
    )  # fmt: skip
    assert found.exit_code == 0, found.exception
    assert "the same as in RLlib" in found.output
    for kind in ("numpy", "c"):
        contract = json.loads((tmp_path / kind / "policy.json").read_text())
        assert contract["verified"]["observations"] >= 1000
        assert contract["environment"] == "CartPole-v1"
        assert contract["size"]["weights"] == contract["size"]["dense_weights"]
        assert load(tmp_path / kind)([0.0, 0.0, 0.1, 0.5]) in (0, 1)
