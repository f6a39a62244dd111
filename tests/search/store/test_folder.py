"""Who may write to a results folder, and what the run says of itself."""

import datetime
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import search.store.writer
from rllib_ext.pruning.errors import ConfigError, ResultsError, RunError
from search.store import folder as results
from search.store.folder import (
    CONFIG,
    INITIAL,
    LOCK,
    MANIFEST,
    place_of,
    provenance,
    read_manifest,
    refuse_taken,
    update_manifest,
)
from search.store.writer import only_writer, only_writer_of_new

HOLDER = """
import sys, time
from pathlib import Path
from search.store.writer import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def begin(name, output):
    """As a new run takes its folder."""
    folder = place_of(name, output)
    with only_writer_of_new(folder):
        refuse_taken(folder)
    return folder


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = begin("small", tmp_path / "a" / "b")
    assert folder.is_dir()
    assert folder.is_absolute()
    assert [path.name for path in folder.iterdir()] == [LOCK]


def test_an_empty_folder_is_taken_as_it_is(tmp_path):
    assert begin("small", tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize("left", [LOCK, INITIAL, ".config.part123.yaml", ".initial.part7.pkl"])
def test_so_is_one_in_which_a_run_was_killed_before_it_began(tmp_path, left):
    (tmp_path / left).touch()
    assert begin("small", tmp_path) == tmp_path.resolve()


def test_without_a_name_the_folder_is_named_after_the_experiment_and_the_time(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = place_of("small", None)
    assert folder.parent == tmp_path.resolve() / "results"
    assert folder.name.startswith("small-2")
    assert not folder.parent.exists()


@pytest.mark.parametrize("inside", ["file", ".hidden", "folder/"])
def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, inside):
    path = tmp_path / inside
    path.mkdir() if inside.endswith("/") else path.write_text("mine")
    with pytest.raises(ResultsError, match=r"is not empty.*--output"):
        refuse_taken(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ResultsError, match=r"is not empty.*--output"):
        begin("small", tmp_path)
    assert path.exists()


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ResultsError):
        refuse_taken(path)
    with pytest.raises(ResultsError):
        begin("small", path)
    with pytest.raises(ResultsError, match="cannot be made"):
        begin("small", path / "below")
    assert path.read_text() == "mine"


def held_elsewhere(folder):
    """Another process that holds the lock."""
    environment = {**os.environ, "PYTHONPATH": str(Path(results.__file__).parents[2])}
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


def run(folder, error, *written):
    """A run that writes some files, then ends by an error."""

    def body():
        with only_writer_of_new(folder):
            for name in written:
                (folder / name).write_text("x")
            raise error

    with pytest.raises(type(error)):
        body()


def test_a_refused_run_leaves_the_folder_as_it_was(tmp_path):
    """Or its own corrected retry would be refused."""
    run(tmp_path / "a", ConfigError("wrong"), INITIAL, CONFIG, MANIFEST)
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    run(tmp_path / "mine", ConfigError("wrong"), CONFIG, MANIFEST)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_was_cut_short_before_it_described_itself_leaves_nothing(tmp_path):
    run(tmp_path / "a", KeyboardInterrupt(), INITIAL)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("error", [ConfigError("late"), KeyboardInterrupt(), RunError("failed")])
@pytest.mark.parametrize("recorded", ["snapshots.jsonl", "events.jsonl", "notes.txt"])
def test_what_was_recorded_stays_however_the_run_ends(tmp_path, error, recorded):
    run(tmp_path, error, CONFIG, MANIFEST, recorded)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, MANIFEST, LOCK, recorded}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RunError("failed")])
def test_a_run_that_described_itself_and_was_cut_short_can_be_resumed(tmp_path, error):
    run(tmp_path, error, CONFIG, MANIFEST)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, MANIFEST, LOCK}


def test_a_loser_of_a_race_removes_nothing(tmp_path):
    process = held_elsewhere(tmp_path)
    try:
        for _ in range(2):
            with pytest.raises(ResultsError, match="being written"), only_writer_of_new(tmp_path):
                pass
            assert (tmp_path / LOCK).exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_that_was_removed_meanwhile_is_not_taken_for_the_folders(tmp_path, monkeypatch):
    """A refused run removes its lock: who waits at the old one must not write beside the next run."""
    taken = []

    def flock(lock, how):
        taken.append(os.fstat(lock.fileno()).st_ino)
        if len(taken) == 1:
            (tmp_path / LOCK).rename(tmp_path / "gone")
            (tmp_path / LOCK).touch()

    monkeypatch.setattr(search.store.writer.fcntl, "flock", flock)
    with only_writer(tmp_path):
        assert taken[-1] == (tmp_path / LOCK).stat().st_ino
    assert len(taken) == 2
    assert taken[0] != taken[1]


def test_a_file_system_without_locks_is_told_from_another_writer(tmp_path, monkeypatch):
    def flock(lock, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(search.store.writer.fcntl, "flock", flock)
    with pytest.raises(ResultsError, match=r"can't be locked .*Function not implemented") as told:
        only_writer(tmp_path).__enter__()
    assert "another process" not in str(told.value)


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
