"""A folder or file that is replaced is there whole, old or new, at whatever moment the process dies."""

import os
import shutil
from pathlib import Path

import pytest

import rllib_ext.base.aside
from rllib_ext.base.aside import OLD, PART, restore, take_place, write_aside, written_aside

NAMES = ("a", "b", "c")


class Killed(BaseException):
    """The process is gone: nothing that would tidy up runs."""


def write(folder, text):
    with written_aside(folder) as aside:
        for name in NAMES:
            (aside / name).write_text(text)


def read(folder):
    """What a whole folder holds."""
    assert sorted(path.name for path in folder.iterdir()) == list(NAMES)
    (text,) = {(folder / name).read_text() for name in NAMES}
    return text


@pytest.fixture
def kill_at(monkeypatch):
    """Has the process die before or after its n-th step on the file system, or in the midst of one."""

    def arrange(step, when):
        taken = []

        def dying(function):
            def run(*arguments, **how):
                taken.append(function.__name__)
                if len(taken) > step:
                    if when == "after":
                        function(*arguments, **how)
                    if when == "within" and function is rmtree and Path(arguments[0]).is_dir():
                        (Path(arguments[0]) / NAMES[0]).unlink(missing_ok=True)
                    raise Killed
                return function(*arguments, **how)

            return run

        rmtree = shutil.rmtree
        monkeypatch.setattr(rllib_ext.base.aside.shutil, "rmtree", dying(rmtree))
        monkeypatch.setattr(Path, "rename", dying(Path.rename))
        monkeypatch.setattr(Path, "mkdir", dying(Path.mkdir))
        return taken

    return arrange


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("step", range(10))
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_a_kill_leaves_is_whole_and_the_next_write_is_too(
    tmp_path, kill_at, monkeypatch, there, step, when
):
    folder = tmp_path / "sparsity-0.5"
    if there:
        write(folder, "old")
    taken = kill_at(step, when)
    try:
        write(folder, "new")
    except Killed:
        # Under its name or beside it, one of the two is whole.
        monkeypatch.undo()
        before = [p for p in (folder, folder.with_name(folder.name + OLD)) if p.is_dir()]
        assert [read(place) for place in before] or not there
    else:
        assert len(taken) <= step
        monkeypatch.undo()
        assert read(folder) == "new"
    restore(folder)
    if there or folder.exists():
        assert read(folder) in ("old", "new")
    assert not folder.with_name(folder.name + OLD).exists()
    write(folder, "newer")
    assert read(folder) == "newer"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_every_step_was_tried(tmp_path, kill_at):
    write(tmp_path / "x", "old")
    taken = kill_at(99, "before")
    write(tmp_path / "x", "new")
    assert 5 < len(taken) < 10


def test_a_folder_takes_the_place_of_another(tmp_path):
    write(tmp_path / "new", "new")
    take_place(tmp_path / "new", tmp_path / "x")
    write(tmp_path / "newer", "newer")
    take_place(tmp_path / "newer", tmp_path / "x")
    assert read(tmp_path / "x") == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_writer_that_fails_leaves_the_old_folder(tmp_path):
    write(tmp_path / "x", "old")

    def fail():
        with written_aside(tmp_path / "x") as aside:
            (aside / "a").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert read(tmp_path / "x") == "old"
    assert {path.suffix for path in tmp_path.iterdir()} == {"", PART}


def test_a_file_is_synced_where_that_is_asked_for(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_aside(tmp_path / "x", lambda aside: aside.write_text("1"), sync=False)
    assert synced == []
    write_aside(tmp_path / "x", lambda aside: aside.write_text("2"))
    assert len(synced) == 1
    assert (tmp_path / "x").read_text() == "2"
