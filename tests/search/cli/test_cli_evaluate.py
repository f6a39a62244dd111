"""`prunefront evaluate`: what it refuses before it loads anything."""

import contextlib
import shutil

import pytest
from click.testing import CliRunner

import search.evaluation.under_shift
import search.runs.session
from rllib_ext.pruning.errors import CheckpointError, ConfigError, RunError
from search.cli.main import cli


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--episodes", "1"], "episodes = 1"),
        (["--seed", "-1"], "seed = -1"),
        (["--set", "gravity"], "expected NAME=VALUE"),
        (["--set", "gravity=[1"], "is not YAML"),
        (["--set", "a=1", "--set", "b=1", "--set", "a=2"], "'a=2': a is given twice"),
        (["--noise", "-0.1"], "noise = -0.1"),
        (["--noise-unit", "sd"], "noise_unit = 'sd'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(options, said, finished):
    found = CliRunner().invoke(cli, ["evaluate", str(finished.folder), *options])
    assert isinstance(found.exception, ConfigError)
    assert said in str(found.exception)


def test_a_folder_that_is_neither_results_nor_policy_is_refused(tmp_path):
    found = CliRunner().invoke(cli, ["evaluate", str(tmp_path)])
    assert isinstance(found.exception, CheckpointError)
    assert "neither a results folder nor a saved policy" in str(found.exception)


def test_a_relative_folder_is_named_to_workers_by_its_whole_path(finished, tmp_path, monkeypatch):
    """Those of a cluster start in the package that they are sent."""
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    told = []

    def evaluate(results, *others):
        told.append(results.folder)
        raise RunError("nothing is played here")

    monkeypatch.setattr(search.evaluation.under_shift, "evaluate_shifts", evaluate)
    monkeypatch.setattr(search.runs.session, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(cli, ["evaluate", "out", "--noise", "0.1"])
    assert "nothing is played here" in str(found.exception)
    assert told == [folder]
