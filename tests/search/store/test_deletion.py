"""What stays on disk: bounds that hold, and folders that go as a whole."""

import os
import shutil
import threading
import time

import pytest
from pretended_search import RANDOM, Search

from search.front.pareto import candidates
from search.population.thinning import POLICIES_PER_CANDIDATE, thin_policies
from search.store.deletion import TRASH, Trash, remove, remove_policies, tidy


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    """Nothing crashes here, so nothing needs to be synced."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def search(tmp_path):
    """A search of 80 snapshots to its end."""
    return Search(tmp_path, evaluation={"episodes": 2, "candidates": 16}).run()


def policies(search):
    return {p.name for p in (search.folder / "policies").iterdir() if "dense" not in p.name}


def test_a_folder_goes_as_a_whole(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "file").write_text("x")
    remove(tmp_path / "no")

    def killed(path, ignore_errors):
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(folder)
    # Nothing takes the rest for a whole one.
    assert [p.name for p in tmp_path.iterdir()] == ["state.part"]
    monkeypatch.undo()
    folder.mkdir()
    remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_the_disk_and_a_name_is_free_at_once(tmp_path, monkeypatch):
    rmtree, disk_is_free = shutil.rmtree, threading.Event()

    def slow(path, ignore_errors):
        assert disk_is_free.wait(30)
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slow)
    trash, state = Trash(tmp_path), tmp_path / "states" / "m00-s000-i0001"
    trash.take(state)
    assert not (tmp_path / TRASH).exists()
    # The same state thrice: its segment is trained again and again.
    for _ in range(3):
        state.mkdir(parents=True)
        (state / "file").write_text("x")
        trash.take(state)
        trash.empty()
        assert not state.exists()
    assert len(list((tmp_path / TRASH).glob("*/file"))) == 3
    disk_is_free.set()
    trash.close()
    assert [p.name for p in tmp_path.iterdir()] == ["states"]


def test_what_a_killed_search_was_removing_goes_when_it_goes_on(search):
    left = search.folder / TRASH / "m00-s000-i0001-left"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    before = policies(search)
    tidy(search.archive)
    assert not (search.folder / TRASH).exists()
    assert policies(search) == before


def test_policies_that_may_be_candidates_stay_and_others_go(search):
    before = search.archive.available()
    limit, floor = 2, RANDOM
    keep = before[0].snapshot_id
    best = {s.snapshot_id for s in candidates(before, limit, floor=floor)}
    assert keep not in best
    after = thin_policies(search.folder, before, [keep], limit, floor)
    left = {s.snapshot_id for s in after if s.checkpoint}
    assert policies(search) == left
    assert len(left) <= POLICIES_PER_CANDIDATE * limit // 2 + 1 < len(before)
    assert {keep, *best} <= left
    assert [s.snapshot_id for s in after] == [s.snapshot_id for s in before]
    assert [s.snapshot_id for s in search.archive.available() if s.checkpoint] == [
        s.snapshot_id for s in after if s.checkpoint
    ]


def test_few_policies_are_left_alone(search):
    before = search.archive.available()
    assert thin_policies(search.folder, before, [], 4, RANDOM) == before
    assert len(policies(search)) == 80


def test_only_named_policies_stay_after_a_search(search):
    keep = {s.snapshot_id for s in search.archive.snapshots()[10:13]}
    after = remove_policies(search.folder, search.archive.available(), keep)
    assert policies(search) == keep == {s.snapshot_id for s in after if s.checkpoint}
    assert (search.folder / search.archive.baselines()["dense"].checkpoint).is_dir()


def test_a_search_keeps_no_more_policies_and_states_than_it_says(tmp_path):
    settings = {"episodes": 2, "candidates": 1}
    search = Search(tmp_path, members=6, segments=6, env_steps=240_000, evaluation=settings)
    segment = search.config.segment_steps // search.trainer.ITERATION
    most = {"policies": 0, "states": 0}

    def look():
        for kind in most:
            names = [p.name for p in tmp_path.glob(f"{kind}/*")]
            dense = [name for name in names if name.startswith("dense")]
            assert len(dense) <= (1 if kind == "policies" else 0)
            most[kind] = max(most[kind], len(names) - len(dense))

    search.run(slots=2, after_each=look)
    assert len(search.archive.snapshots()) == 240
    assert most["policies"] <= POLICIES_PER_CANDIDATE + 2 * (segment + 1)
    # Two segments of each member's, what runs, and what members stand on. A segment of 6,666 env steps
    # takes a seventh iteration where it begins at a clock of 7,000 or 27,000: two may do so at once.
    assert most["states"] <= 6 * (2 * segment + 1) + 2 * (segment + 2)


class EnoughError(Exception):
    """The search was watched for long enough."""


def test_what_a_slow_or_lost_clone_starts_from_stays_while_others_go_far_ahead(
    tmp_path, monkeypatch
):
    settings = {"episodes": 2, "candidates": 1}
    options = {"members": 8, "segments": 10, "env_steps": 320_000, "evaluation": settings}
    search = Search(tmp_path, **options)
    decide, held, looks = search.coordinator.decide, [], []

    def holding_a_clone():
        segment = decide()
        own = segment is None or segment.parent.startswith(f"m{segment.member:02d}")
        if held or own or not segment.parent:
            return segment
        held.append(segment)
        return decide()

    def look():
        looks.append(0)
        if held and not search.coordinator.finished and len(looks) == 330:
            raise EnoughError

    monkeypatch.setattr(search.coordinator, "decide", holding_a_clone)
    with pytest.raises(EnoughError):
        search.run(slots=2, after_each=look)
    (clone,) = held
    clocks = {s.snapshot_id: s.env_steps for s in search.archive.snapshots()}
    others = [m.env_steps for m in search.coordinator._state.members if m.index != clone.member]
    assert min(others) - clocks[clone.parent] > 2 * search.config.segment_steps
    assert (tmp_path / clone.state).is_dir()
    again = Search(tmp_path, **options)
    assert clone.state in {r.segment.state for r in again.coordinator._state.lost.values()}
    assert (tmp_path / clone.state).is_dir()
    again.run(slots=2)
    assert (clone.member, clone.segment) in {(s.member, s.segment) for s in again.segments}
    assert not (tmp_path / clone.state).is_dir()


def test_states_that_nobody_can_start_from_are_not_kept(tmp_path):
    search = Search(tmp_path, members=5, fails=lambda s: "nan" if s.member == 0 else "").run()
    unusable = {s.snapshot_id for s in search.archive.snapshots() if not s.usable}
    assert unusable
    states = {p.name for p in (tmp_path / "states").iterdir()}
    assert states.isdisjoint(unusable)
    assert not [name for name in states if name.startswith("dense")]


def test_what_a_search_lets_go_leaves_the_disk_before_the_search_ends(tmp_path, monkeypatch):
    search = Search(tmp_path, members=5)
    close, remaining = search.coordinator.close, []

    def closing():
        until = time.monotonic() + 10
        while (left := os.listdir(tmp_path / TRASH)) and time.monotonic() < until:
            time.sleep(0.01)
        remaining.extend(left)
        close()

    monkeypatch.setattr(search.coordinator, "close", closing)
    search.run()
    assert remaining == []


def test_the_state_of_what_is_not_usable_goes_when_its_removal_was_killed(tmp_path, monkeypatch):
    search = Search(tmp_path, members=5, fails=lambda s: "nan" if s.member == 0 else "")
    with monkeypatch.context() as patch:
        patch.setattr(Trash, "take", lambda trash, folder: None)
        search.run()
    unusable = {s.snapshot_id for s in search.archive.snapshots() if not s.usable}
    states = {p.name for p in (tmp_path / "states").iterdir()}
    assert unusable
    assert unusable <= states
    tidy(search.archive)
    assert {p.name for p in (tmp_path / "states").iterdir()} == {
        name for name in states - unusable if not name.startswith("dense")
    }


def test_what_a_kill_left_of_a_replacement_is_put_right(search):
    """Killed between two renames, a policy's name was free: the old one is given it back."""
    before = policies(search)
    kept = search.folder / "policies" / min(before)
    (kept / "masks.npz").write_text("old")
    (kept / ".metadata.part77.json").write_text("half")
    kept.rename(kept.with_name(f"{kept.name}.old"))
    for name in (f"{kept.name}.part", "m99-s000-i0001.old"):
        (kept.parent / name).mkdir()
    (search.folder / ".earlier.part").mkdir()
    tidy(search.archive)
    assert policies(search) == before
    assert [path.name for path in kept.iterdir()] == ["masks.npz"]
    assert not (search.folder / ".earlier.part").exists()
