"""Files that are replaced, and what an interruption leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.store.files import write_aside, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    write_text(path, "first\n")
    write_text(path, "second – longer\n")
    assert path.read_text(encoding="utf-8") == "second – longer\n"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_one_file_at_a_time(tmp_path):
    """A report is made without the folder's lock, while a search may write its own."""
    path = tmp_path / "a.txt"
    code = (
        "import sys; from pathlib import Path; from search.store.files import write_text\n"
        "write_text(Path(sys.argv[1]), 'theirs')"
    )

    def write(aside):
        aside.write_text("ours")
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert path.read_text() == "theirs"

    write_aside(path, write)
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, when):
    path = tmp_path / "file"
    write_text(path, "old")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    if when == "fsync":
        monkeypatch.setattr(os, "fsync", interrupt)
    else:
        monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(aside):
        aside.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_aside(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
