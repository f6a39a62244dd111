"""`prunefront evaluate`: what it refuses before it loads anything."""

import pytest
from click.testing import CliRunner

from rllib_ext.pruning.errors import CheckpointError, ConfigError
from search.cli.main import cli


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--episodes", "1"], "episodes = 1"),
        (["--seed", "-1"], "seed = -1"),
        (["--set", "gravity"], "expected NAME=VALUE"),
        (["--set", "gravity=[1"], "is not YAML"),
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
