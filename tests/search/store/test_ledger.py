"""Files of records that were cut, changed or removed are noticed; what a crash leaves is no damage."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import search.store.ledger
from rllib_ext.pruning.errors import ResultsError
from search.store import folder as results
from search.store.archive import Archive
from search.store.folder import read_manifest, update_manifest
from search.store.ledger import Ledger, lost_records, refuse_loss
from search.store.lines import read_lines
from search.store.writer import only_writer


def lost(folder):
    return lost_records(folder, read_manifest(folder))


@pytest.fixture
def sealed(tmp_path):
    """A folder of 20 events and a recipe check's 5, noted."""
    (tmp_path / "retrain").mkdir()
    update_manifest(tmp_path, status="running")
    with only_writer(tmp_path):
        for i in range(20):
            Archive(tmp_path).add_event("start", member=i)
        for i in range(5):
            Archive(tmp_path / "retrain", tmp_path).add_event("start", member=i)
    return tmp_path


def test_a_file_that_is_whole_or_has_grown_has_lost_nothing(sealed):
    assert read_manifest(sealed)["records"]["events.jsonl"]["lines"] == 20
    assert lost(sealed) == []
    Archive(sealed).add_event("end", member=3)
    with (sealed / "events.jsonl").open("a") as file:
        file.write('{"event": "torn')
    assert lost(sealed) == []
    refuse_loss(sealed)


def test_a_torn_last_line_is_never_noted(sealed):
    with (sealed / "events.jsonl").open("a") as file:
        file.write('{"event": "torn')
    with only_writer(sealed):
        pass
    Archive(sealed).add_event("end", member=3)
    assert lost(sealed) == []
    assert [e["event"] for e in read_lines(sealed / "events.jsonl")][-2:] == ["start", "end"]


@pytest.mark.parametrize("where", [".", "retrain"])
@pytest.mark.parametrize(
    "how", ["cut", "cut within a line", "middle", "edited", "emptied", "removed"]
)
def test_what_was_lost_is_told_and_nothing_more_is_written(sealed, how, where):
    path = sealed / where / "events.jsonl"
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    path.write_bytes(
        {
            "cut": b"".join(lines[:3]),
            "cut within a line": b"".join(lines[:3]) + lines[3][:7],
            "middle": b"".join([*lines[:2], *lines[4:]]),
            "edited": before.replace(b'"member":2}', b'"member":7}'),
        }.get(how, b"")
    )
    if how == "removed":
        path.unlink()
    (told,) = lost(sealed)
    left = {"cut": 3, "cut within a line": 3, "middle": len(lines) - 2, "emptied": 0}
    if how in left:
        assert told == f"{path.relative_to(sealed)} holds {left[how]} of {len(lines)} lines"
    assert str(path.relative_to(sealed)) in told
    with (
        pytest.raises(ResultsError, match=r"is incomplete.*Bring the whole file back"),
        only_writer(sealed),
    ):
        raise AssertionError
    # What it once held stays noted, whoever looks.
    Ledger(sealed).seal()
    assert lost(sealed) == [told]
    path.write_bytes(before)
    assert lost(sealed) == []


def test_the_mend_of_the_message_goes_on_with_what_is_left(sealed):
    (sealed / "events.jsonl").write_text('{"event":"start","member":0}\n')
    values = read_manifest(sealed)
    del values["records"]
    (sealed / "manifest.json").write_text(json.dumps(values))
    with only_writer(sealed):
        Archive(sealed).add_event("end", member=0)
    assert read_manifest(sealed)["records"]["events.jsonl"]["lines"] == 2


WRITER = """
import sys, time
from pathlib import Path
import search.store.ledger
search.store.ledger.INTERVAL = 0.0
from search.store.archive import Archive
from search.store.writer import only_writer
with only_writer(Path(sys.argv[1])):
    archive = Archive(Path(sys.argv[1]))
    for i in range(50):
        archive.note("start", member=i)
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_has_noted_what_it_wrote_some_time_before(tmp_path):
    update_manifest(tmp_path, status="running")
    environment = {**os.environ, "PYTHONPATH": str(Path(results.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "written\n"
        # While it writes, whoever reads finds nothing lost.
        assert lost(tmp_path) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert lost(tmp_path) == []
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:100])
    assert "of 50 lines" in lost(tmp_path)[0] or "of 49 lines" in lost(tmp_path)[0]


def test_a_later_look_reads_only_what_was_added(tmp_path, monkeypatch):
    update_manifest(tmp_path, status="running")
    monkeypatch.setattr(search.store.ledger, "INTERVAL", 0.0)
    archive, digested = Archive(tmp_path), []

    class Digest:
        def __init__(self):
            self.whole = b""

        def update(self, line):
            digested.append(line)
            self.whole += line

        def hexdigest(self):
            return str(len(self.whole))

    monkeypatch.setattr(search.store.ledger.hashlib, "sha256", Digest)
    for i in range(30):
        archive.add_event("start", member=i)
    assert len(digested) == 30


def test_nothing_is_noted_between_two_looks(tmp_path):
    update_manifest(tmp_path, status="running")
    before = (tmp_path / "manifest.json").stat().st_mtime_ns
    archive = Archive(tmp_path)
    for i in range(30):
        archive.add_event("start", member=i)
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == before


def test_what_is_noted_is_on_disk_before(tmp_path, monkeypatch):
    """Or a crash of the machine takes lines that the manifest knows of."""
    update_manifest(tmp_path, status="running")
    archive, order = Archive(tmp_path), []
    archive.note("start", member=0)
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: order.append(os.readlink(f"/proc/self/fd/{file}")) or fsync(file)
    )
    Ledger(tmp_path).seal()
    assert [Path(name).suffix for name in order] == [".jsonl", ".json"]


@pytest.mark.parametrize("told", [None, [], {"events.jsonl": 3}, {"../x": {"lines": 1}}])
def test_notes_of_another_kind_are_passed_over(tmp_path, told):
    (tmp_path / "manifest.json").write_text(json.dumps({"records": told}))
    assert lost(tmp_path) == []


def test_a_folder_of_an_earlier_version_is_noted_from_then_on(tmp_path):
    update_manifest(tmp_path, status="finished")
    Archive(tmp_path).add_event("start", member=0)
    assert lost(tmp_path) == []
    with only_writer(tmp_path):
        pass
    (tmp_path / "events.jsonl").unlink()
    assert lost(tmp_path) == ["events.jsonl is missing, and held 1 line"]
