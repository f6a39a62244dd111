"""A folder is named by a path: an address would make a local folder called "s3:"."""

import pytest
from click.testing import CliRunner
from command_line import SMOKE

import search
from rllib_ext.pruning.errors import ConfigError
from search.cli.main import cli
from search.store.folder import place_of, refuse_address

S3, FILE = "s3://bucket/out", "file:///data/out"


@pytest.mark.parametrize("address", [S3, FILE])
@pytest.mark.parametrize(
    "words",
    [
        ("search", SMOKE, "--output"),
        ("search", SMOKE, "--resume-or-start", "--output"),
        ("submit", SMOKE, "--address", "http://127.0.0.1:1", "--output"),
        ("prune", "checkpoint", "--output"),
        ("sensitivity", "checkpoint", "--output"),
        ("report", "a", "b", "--output"),
        ("resume",),
        ("report",),
        ("report", "a"),
        ("evaluate",),
        ("retrain",),
        ("prune",),
        ("sensitivity",),
    ],
    ids=lambda words: "-".join(word for word in map(str, words) if not word.startswith("/")),
)
def test_every_verb_that_takes_a_folder_refuses_an_address(tmp_path, monkeypatch, words, address):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, [str(word) for word in (*words, address)])
    assert isinstance(ended.exception, ConfigError), ended.output
    told = str(ended.exception)
    assert f"{address} is an address" in told
    assert ("mounted bucket" if address == S3 else "Expected a path: /data/out.") in told
    assert list(tmp_path.iterdir()) == []


def test_from_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (S3, FILE):
        with pytest.raises(ConfigError, match="is an address"):
            search.load(given)
        # What `Path` makes of it has one slash.
        with pytest.raises(ConfigError, match="is an address"):
            place_of("x", tmp_path.__class__(given))


@pytest.mark.parametrize("path", ["out", "/data/out", "./a:b/c", "C:/out", "~/out", "a b"])
def test_paths_are_paths(path):
    refuse_address(path, "--output")
