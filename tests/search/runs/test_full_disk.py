"""A disk that is full from some moment on: the search says so, and goes on once there is room."""

import contextlib
import errno
import json
import os
import random
import sys

import pytest
from pretended_search import Search, by_id, events
from pretended_tune import Tune

import search.store.archive
from search.cluster.failure import is_disk_full
from search.population.study import Journal
from search.store.archive import Archive
from search.store.deletion import tidy

SMALL = {"members": 5, "segments": 3, "env_steps": 36_000, "seed": 3}


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)


class Disk:
    """Has room for some writes; what no longer fits is there in part, or not at all.

    Args:
        room: How many writes fit: of the archive, of the study's journal, of a member's state.
        rng: Draws how much of a line arrives.
    """

    def __init__(self, room, rng):
        self.room, self.rng, self.count = room, rng, 0

    def _write(self, path=None, records=()):
        self.count += 1
        if self.count <= self.room:
            return
        text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records).encode()
        if path is not None:
            with open(path, "ab") as file:
                file.write(text[: self.rng.randint(0, max(0, len(text) - 1))])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def filling(self, trainer):
        append_lines, append_logs = search.store.archive.append_lines, Journal.append_logs
        trained = trainer._iteration

        def lines(path, records, **how):
            self._write(path, records)
            append_lines(path, records, **how)

        def logs(backend, values):
            self._write(backend._file_path, values)
            append_logs(backend, values)

        def iteration(*arguments):
            self._write()
            return trained(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search.store.archive, "append_lines", lines)
            patch.setattr(Journal, "append_logs", logs)
            patch.setattr(trainer, "_iteration", iteration)
            yield


def filled(folder, room, slots=2, freed=False):
    """A search on a disk that fills up, and has room again when it ends where it is freed."""
    begun = Search(folder, **SMALL)
    disk = Disk(room, random.Random(room))
    with disk.filling(begun.trainer):
        tune = Tune(begun, slots).run()
        if freed:
            disk.room = sys.maxsize
        with contextlib.suppress(OSError):
            begun.coordinator.close()
    return begun, tune, disk.count


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """How many writes there are where all fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        _, whole, count = filled(tmp_path_factory.mktemp("whole"), room=10**9)
    assert whole.scheduler.error is None
    return count


@pytest.mark.parametrize("freed", [False, True])
@pytest.mark.parametrize("first", range(4))
def test_wherever_the_disk_fills_up_the_search_says_so_and_is_finished_later(
    tmp_path, count, first, freed
):
    for room in range(9 * first, count, 36):
        folder = tmp_path / str(room)
        begun, tune, _ = filled(folder, room, freed=freed)
        assert is_disk_full(tune.scheduler.error), room
        assert tune.scheduler.suggest("z") == "FINISHED"
        # It is no member's fault.
        assert begun.coordinator.failures == []
        before = by_id(begun)
        tidy(Archive(folder))
        again = Search(folder, **SMALL).run(slots=2)
        assert again.coordinator.finished
        assert again.coordinator.failures == []
        assert events(again, "failure") == []
        after = by_id(again)
        assert {name: after[name].return_mean for name in before} == {
            name: snapshot.return_mean for name, snapshot in before.items()
        }
        assert 36_000 <= again.coordinator.spent["training"] <= 36_000 + 5 * 1_000
        lines = (folder / "snapshots.jsonl").read_text().splitlines()
        assert len({json.loads(line)["snapshot_id"] for line in lines}) == len(lines)
        assert all((folder / s.checkpoint).is_dir() for s in after.values())


def test_a_member_that_finds_the_disk_full_ends_the_search_and_is_not_tried_again(tmp_path):
    search_ = Search(tmp_path, **SMALL)
    tune = Tune(search_, slots=2)
    tune.scheduler.suggest("a")
    tune.scheduler.suggest("b")
    reason = f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}"
    before = search_.archive.events()
    tune.scheduler.take_failure("a", reason)
    tune.scheduler.on_trial_result("b", {"env_steps": 1_000, "env_steps_this_iter": 1_000})
    tune.scheduler.take_failure("b", reason)
    assert str(tune.scheduler.error) == reason
    assert search_.archive.events() == before
    assert not any(search_.coordinator.spent.values())
