"""Any prefix of a search's log, replayed, gives the state that live code had there."""

import dataclasses
import json
import random
from collections import Counter

import pytest
from pretended_search import RANDOM, Search, Trainer

from rllib_ext.member.segment import DENSE
from rllib_ext.pruning.errors import ResultsError
from search.population.coordinator import Coordinator
from search.population.events import End, Failure, Iteration, SegmentEvent, event_of
from search.population.recovery import records_of, replay
from search.population.strategies import STRATEGIES
from search.store.archive import Archive, Snapshot
from search.store.deletion import tidy

pytestmark = pytest.mark.usefixtures("without_sync")

LOG = ("events.jsonl", "snapshots.jsonl")
OPTIONS = {"members": 5, "segments": 3, "env_steps": 60_000, "seed": 3}
# Members go on at their horizon, and few policies stay on disk.
LONG = {
    **OPTIONS,
    "budget": {"env_steps": 90_000, "horizon": 15_000},
    "evaluation": {"episodes": 2, "candidates": 1},
}
FAILS = {(1, 1): "raise", (2, 0): "nan", (0, 1): "raise"}


class Sparse(Trainer):
    """Every second iteration of a member is not evaluated."""

    def train(self, segment):
        for result, snapshot in super().train(segment):
            clock = result["env_steps"]
            if segment.member == DENSE or clock >= segment.until_env_steps or clock % 2_000 == 0:
                yield result, snapshot
            else:
                yield {**result, "evaluation_env_steps": 0}, None


class Fickle(Trainer):
    """A segment that is trained again may come out differently."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.rng = random.Random(0)

    def train(self, segment):
        for result, snapshot in super().train(segment):
            if snapshot is not None and self.rng.random() < 0.3:
                mean = snapshot["return_mean"] + 1.0
                snapshot = {**snapshot, "return_mean": mean, "returns": [mean, mean]}
            yield result, snapshot


def text(snapshot):
    """A snapshot as it is written, but for what is dropped once nobody compares it any more."""
    return None if snapshot is None else json.dumps(vars(snapshot.without_details()))


def named(snapshot):
    """The same, of who knows nothing of where its policy lies: the register does."""
    return snapshot and text(dataclasses.replace(snapshot, checkpoint=""))


def standing(state):
    """What a state says, as far as the log can tell, and what of its memory is asked for."""

    def segments(running):
        return [
            [
                json.dumps(r.segment.to_dict()), r.hyperparameters, r.start, r.env_steps,
                named(r.last),
            ]
            for r in running.values()
        ]  # fmt: skip

    held, again = state.snapshots.held, state.again
    untold = Counter()
    for member, running in state.running.items():
        untold["baselines" if member == DENSE else "training"] += running.heard - running.env_steps
    return {
        "members": [
            {**vars(m), "last": named(m.last), "previous": named(m.previous)} for m in state.members
        ],
        "running": segments(state.running),
        "lost": segments(state.lost),
        "donors": [text(s) for s in state.snapshots.donors.values()],
        "policies": [text(s) for s in held if s.checkpoint],
        "compared": [json.dumps(vars(s)) for s in held if (s.member, s.segment) in again],
        "made": state.made,
        "seconds": state.seconds,
        "best": repr((state.so_far.best, state.so_far.sparsest_good)),
        "failures": list(state.failures),
        "ended": state.ended and [state.ended[0], named(state.ended[1])],
        "spent": {k: v - untold[k] for k, v in state.spent.items()},
    }


class Watched:
    """Notes where a search stands, and which folders are there, at every length of its log.

    Args:
        monkeypatch: Of the test.
        folder: The results folder.

    Attributes:
        seen: States and folders by the sizes of the log's files.
        written: What was appended, in its order: a file and its line's values.
    """

    def __init__(self, monkeypatch, folder):
        self.folder = folder
        self.seen = {}
        self.written = []
        self._coordinator = None
        append = Archive._append

        def appended(archive, name, values, **how):
            # Several may be written in one go: what came before this one counts already.
            self._look()
            append(archive, name, values, **how)
            self.written.append((name, json.loads(json.dumps(values))))

        monkeypatch.setattr(Archive, "_append", appended)
        for name in ("decide", "tell", "note_retry", "end", "close"):
            monkeypatch.setattr(Coordinator, name, self._looking(getattr(Coordinator, name)))

    def follow(self, coordinator):
        """Watches another process's coordinator; None: the process is no more."""
        self._coordinator = coordinator
        self._look()

    def check(self, place, count, rng):
        """Replays some prefixes of the log, and the whole of it."""
        texts = [(self.folder / name).read_bytes() for name in LOG]
        place.mkdir()
        sizes = list(self.seen)
        for size in [*rng.sample(sizes, min(count, len(sizes))), sizes[-1]]:
            for name, whole, length in zip(LOG, texts, size, strict=True):
                (place / name).write_bytes(whole[:length])
            expected, there = self.seen[size]
            state = replay(Archive(place), OPTIONS["members"], RANDOM)
            state.leave_out_gone(there)
            found = standing(state)
            for key, value in expected.items():
                assert found[key] == value, (size, key)

    def _looking(self, method):
        def called(*arguments, **more):
            try:
                return method(*arguments, **more)
            finally:
                self._look()

        return called

    def _look(self):
        if self._coordinator is not None:
            sizes = tuple(_size(self.folder / name) for name in LOG)
            if sizes not in self.seen:
                there = Archive(self.folder).on_disk()
                self.seen[sizes] = standing(self._coordinator._state), there


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def train(search, rng, *, slots, retries, until):
    """Goes on for some iterations; True where the search came to its end before."""
    coordinator, running = search.coordinator, []
    while not coordinator.finished:
        while len(running) < slots and (segment := coordinator.decide()) is not None:
            running.append((segment, search.trainer.train(segment)))
        for each in list(running):
            segment, iterations = each
            if segment.member != DENSE and rng.random() < retries:
                coordinator.note_retry(segment, "a worker died")
                running[running.index(each)] = segment, search.trainer.train(segment)
                continue
            try:
                coordinator.tell(segment, *next(iterations))
            except (StopIteration, RuntimeError) as error:
                coordinator.end(segment, "" if isinstance(error, StopIteration) else str(error))
                running.remove(each)
            until -= 1
            if until == 0:
                return False
    return True


@pytest.mark.parametrize("trainer", [Trainer, Sparse, Fickle])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_prefix_of_the_log_gives_the_state_that_live_code_had(
    tmp_path, monkeypatch, strategy, trainer
):
    rng = random.Random(f"{strategy} {trainer.__name__}")
    options = OPTIONS if strategy == "train_then_prune" else LONG
    folder, now, done = tmp_path / "s", [0.0], False
    watched = Watched(monkeypatch, folder)

    def clock():
        now[0] += 0.25
        return now[0]

    for process in range(100):
        if folder.is_dir():
            tidy(Archive(folder))
        search = Search(folder, clock=clock, strategy=strategy, **options)
        search.trainer = trainer(folder, lambda s: FAILS.get((s.member, s.segment), ""))
        watched.follow(search.coordinator)
        until = rng.randint(1, 40) if process < 6 else 10**9
        done = train(search, rng, slots=3, retries=0.03, until=until)
        if done or process % 2:
            search.coordinator.close()
        watched.follow(None)
        if done:
            break
    assert search.coordinator.spent["training"] >= options["env_steps"]
    watched.check(tmp_path / "prefix", 60, rng)
    kinds = Counter(values.get("event", "snapshot") for _, values in watched.written)
    assert all(kinds[k] for k in ("retry", "lost", "repeat", "failure", "end", "dense"))
    names = [v["snapshot_id"] for name, v in watched.written if name == "snapshots.jsonl"]
    assert len(set(names)) < len(names) or trainer is not Fickle


def _key(record):
    return record.member, record.segment


def test_the_log_s_two_files_are_read_in_an_order_in_which_they_may_have_been_written(
    tmp_path, monkeypatch
):
    folder, rng = tmp_path / "s", random.Random(0)
    watched = Watched(monkeypatch, folder)
    for until in (25, 30, 10**9):
        search = Search(folder, fails=lambda s: "raise" if s.segment == s.member else "", **OPTIONS)
        train(search, rng, slots=3, retries=0.03, until=until)
    written = [
        Snapshot.from_json(values) if name == "snapshots.jsonl" else event_of(values)
        for name, values in watched.written
        if name in LOG
    ]
    written = [record for record in written if record is not None]
    read = list(records_of(search.archive.events(), search.archive.snapshots()))
    assert len(read) == len(written)
    for kind in (Snapshot, SegmentEvent):
        assert [repr(r) for r in read if isinstance(r, kind)] == [
            repr(r) for r in written if isinstance(r, kind)
        ]
    for key in {_key(r) for r in written}:
        assert [repr(r) for r in read if _key(r) == key] == [
            repr(r) for r in written if _key(r) == key
        ]
    made = set()
    for record in read:
        if isinstance(record, Snapshot):
            assert not record.parent or record.parent in made
            made.add(record.snapshot_id)


def test_lines_become_events_and_events_lines():
    at = {"member": 2, "segment": 1, "env_steps": 700}
    lines = [
        {"event": "end", **at},
        {"event": "failure", **at, "error": "it died"},
        {"event": "repeat", **at, "evaluation_env_steps": 9},
        {"event": "dense", **at, "member": DENSE, "evaluation_env_steps": 9},
    ]
    events = [event_of(line) for line in lines]
    assert [type(e) for e in events] == [End, Failure, Iteration, Iteration]
    assert [{"event": e.kind, **vars(e)} for e in events] == lines


def test_lines_that_change_nothing_are_passed_over_and_broken_ones_are_not():
    for line in ({"event": "explore", "member": 1}, {"event": "candidates"}, {}):
        assert event_of(line) is None
    named = {"event": "failure", "member": "small_dense-40", "segment": 0, "env_steps": 0}
    assert event_of({**named, "error": "it died"}) is None
    with pytest.raises(ResultsError, match="env_steps"):
        event_of({"event": "end", "member": 1, "segment": 0})
    with pytest.raises(ResultsError, match="segment = 'x'"):
        event_of({"event": "end", "member": 1, "segment": "x", "env_steps": 0})
