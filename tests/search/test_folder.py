"""Who may write to a results folder, and what the run says of itself."""

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_ext.pruning.errors import ResultsError
from search import folder as results
from search.folder import (
    CONFIG,
    INITIAL,
    new_folder,
    provenance,
    read_manifest,
    remove_unbegun,
    update_manifest,
)
from search.writer import only_writer

HOLDER = """
import sys, time
from pathlib import Path
from search.writer import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = new_folder("small", tmp_path / "a" / "b")
    assert folder.is_dir()
    assert folder.is_absolute()
    assert list(folder.iterdir()) == []


def test_an_empty_folder_is_taken_as_it_is(tmp_path):
    assert new_folder("small", tmp_path) == tmp_path.resolve()


def test_without_a_name_the_folder_is_named_after_the_experiment_and_the_time(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = new_folder("small", None)
    assert folder.parent == tmp_path.resolve() / "results"
    assert folder.name.startswith("small-2")


@pytest.mark.parametrize("inside", ["file", ".hidden", "folder/"])
def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, inside):
    path = tmp_path / inside
    path.mkdir() if inside.endswith("/") else path.write_text("mine")
    with pytest.raises(ResultsError, match=r"is not empty.*--output"):
        new_folder("small", tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ResultsError):
        new_folder("small", path)
    with pytest.raises(ResultsError, match="cannot be made"):
        new_folder("small", path / "below")
    assert path.read_text() == "mine"


def held_elsewhere(folder):
    """Another process that holds the lock."""
    environment = {**os.environ, "PYTHONPATH": str(Path(results.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_until_the_first_is_gone_even_by_kill(tmp_path):
    process = held_elsewhere(tmp_path)
    try:
        with (
            pytest.raises(ResultsError, match="being written by another process"),
            only_writer(tmp_path),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with only_writer(tmp_path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
        _ = 1 / 0
    with only_writer(tmp_path), pytest.raises(ResultsError), only_writer(tmp_path):
        pass


def test_a_folder_whose_run_never_began_is_removed_and_any_other_stays(tmp_path):
    folder = new_folder("a", tmp_path / "a")
    with only_writer(folder):
        (folder / INITIAL).write_bytes(b"weights")
    remove_unbegun(folder)
    assert not folder.exists()
    for inside in (CONFIG, "notes.txt"):
        folder = new_folder("b", tmp_path / inside)
        (folder / inside).write_text("x")
        remove_unbegun(folder)
        assert (folder / inside).read_text() == "x"


def test_the_manifest_is_added_to(tmp_path):
    assert read_manifest(tmp_path) == {}
    update_manifest(tmp_path, name="small", status="running")
    update_manifest(tmp_path, status="finished", env_steps={"training": 3})
    assert read_manifest(tmp_path) == {
        "name": "small",
        "status": "finished",
        "env_steps": {"training": 3},
    }


def test_a_damaged_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": ')
    with pytest.raises(ResultsError, match=r"manifest\.json is not JSON.*Remove it"):
        read_manifest(tmp_path)


def test_provenance_says_where_and_with_what():
    said = provenance(["prunefront", "search", "x.yaml"])
    assert said["command"] == ["prunefront", "search", "x.yaml"]
    assert {"python", "ray", "torch", "optuna", "numpy"} <= said["versions"].keys()
    assert said["hardware"]["machine"]
    assert datetime.datetime.fromisoformat(said["started"]).tzinfo is not None
    assert json.loads(json.dumps(said)) == said


def test_the_revision_is_empty_where_git_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance([])["git_revision"] == ""
