"""Events for scripts: each a whole line of plain JSON with the fields that are documented."""

import io
import json
import math

import numpy as np
import pytest

from search.front.read_results import read_results
from search.population.progress import Point, Progress
from search.report.terminal import outcome
from search.runs.display import json_lines
from search.runs.display.json_lines import EVENTS, JsonDisplay

ALWAYS = {"event", "time", "elapsed"}


@pytest.fixture(scope="module")
def results(finished):
    return read_results(finished.folder)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_000.0

    monkeypatch.setattr(json_lines.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def told(clock):
    stream = io.StringIO()

    def events():
        return [
            json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()
        ]

    events.display = JsonDisplay(stream)
    return events


def progress(**changes):
    return Progress(
        **{
            "env_steps": 250, "budget": 1_000, "running": 2, "members": 8, "snapshots": 12,
            "best_return": 487.25, "sparsest_good": math.nan, "failures": 0,
            "front": (Point(487.25, 0.5, 2240),), **changes,
        }
    )  # fmt: skip


def test_each_event_has_the_fields_that_are_documented(told, results):
    display = told.display
    display.phase("training")
    display.note("waiting")
    display.searching(progress())
    display.training_baselines(1, 3)
    display.evaluating(2, 13)
    display.emit("finished", **outcome(results))
    events = told()
    assert [e["event"] for e in events] == [
        "phase", "note", "progress", "baselines", "evaluated", "finished"
    ]  # fmt: skip
    for event in events:
        assert set(event) == ALWAYS | set(EVENTS[event["event"]])


def test_progress_is_in_plain_numbers_and_what_is_unknown_is_null(told, clock):
    told.display.phase("training")
    clock.now += 10
    told.display.searching(progress(env_steps=50))
    clock.now += 20
    told.display.searching(progress())
    event = told()[-1]
    assert (event["elapsed"], event["share"], event["seconds_left"]) == (30.0, 0.25, 75.0)
    assert event["sparsest_good"] is event["hypervolume"] is None
    assert event["front"] == [
        {"return_mean": 487.25, "sparsity": 0.5, "weights": 2240, "retained": None}
    ]


def test_progress_comes_once_a_second_and_at_the_end(told, clock):
    for step in range(100):
        clock.now += 0.1
        told.display.searching(progress(env_steps=step))
    told.display.searching(progress(env_steps=1_000))
    events = told()
    assert 9 <= len(events) <= 12
    assert events[-1]["env_steps"] == 1_000


def test_the_outcome_holds_the_front_as_its_file_does(told, results):
    told.display.emit("finished", **outcome(results))
    (event,) = told()
    table = results.confirmed.table
    assert [row["snapshot_id"] for row in event["front"]] == list(table["snapshot_id"])
    for row, sparsity in zip(event["front"], table["sparsity"], strict=True):
        assert row["sparsity"] == pytest.approx(sparsity)
        assert type(row["knee"]) is bool
    assert event["folder"] == str(results.folder)


def test_numbers_of_numpy_are_numbers(told):
    told.display.emit("note", text=[np.float64("inf"), np.int64(3), np.bool_(True)])
    assert told()[0]["text"] == [None, 3, True]


def test_what_another_process_wrote_is_passed_on_or_wrapped(told):
    event = '{"event": "note", "time": "", "elapsed": 1.0, "text": "rain"}'
    for line in (event, "", "[00:01] a line", '{"event": "else"}', "17", "  ", '{"event": []}'):
        told.display.pass_on(line)
    assert told()[0] == json.loads(event)
    assert [(e["event"], e["text"]) for e in told()[1:]] == [
        ("log", "[00:01] a line"), ("log", '{"event": "else"}'), ("log", "17"),
        ("log", '{"event": []}'),
    ]  # fmt: skip
