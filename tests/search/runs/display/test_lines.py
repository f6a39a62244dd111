"""What a log gets of a search."""

import io
import math
import threading

import pytest

from search.population.progress import Progress
from search.runs.display import lines as display
from search.runs.display.lines import FIRST, LineDisplay, describe


def progress(**changes):
    values = {
        "env_steps": 250_000,
        "budget": 1_000_000,
        "running": 2,
        "members": 8,
        "snapshots": 120,
        "best_return": 487.25,
        "sparsest_good": 0.98765,
        "failures": 0,
    }
    return Progress(**{**values, **changes})


def shown():
    stream = io.StringIO()
    return LineDisplay(stream), stream


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""

    class Clock:
        now = 1_000.0

    monkeypatch.setattr(display.time, "monotonic", lambda: Clock.now)
    return Clock


def test_one_line_says_how_far_a_search_is():
    assert describe(progress(), 180.0) == (
        "   25% · 250,000 of 1,000,000 env steps · 2 of 8 members in training · best return 487.2 · "
        "sparsest good 98.77 % · 3:00 min left"
    )


@pytest.mark.parametrize(
    ("changes", "left", "there", "missing"),
    [
        ({"env_steps": 0, "best_return": math.nan, "sparsest_good": math.nan}, math.inf,
         "best return – · sparsest good –", "left"),
        ({"env_steps": 10_000}, math.inf, "1%", "left"),
        ({"env_steps": 1_004_000}, 0.0, "100%", "101%"),
        ({"env_steps": 500_000}, 8_000.0, "2 h 13 min left", "133"),
        ({"failures": 3}, 9.0, "3 failed", "–"),
        ({"best_return": -1234.5678}, 9.0, "best return -1235", "–"),
        ({"best_return": 0.012345}, 9.0, "best return 0.01235", "–"),
    ],
)  # fmt: skip
def test_the_line_suits_what_is_known(changes, left, there, missing):
    line = describe(progress(**changes), left)
    assert there in line
    assert missing not in line


def test_a_log_gets_whole_lines_without_control_characters(clock):
    screen, stream = shown()
    with screen:
        screen.phase("training [8] members")
        clock.now += 65
        screen.searching(progress())
        screen.phase("evaluating")
        screen.evaluating(3, 3)
    text = stream.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    lines = text.splitlines()
    # However long, it is one line.
    assert lines[0] == "[00:00] training [8] members"
    assert lines[1] == f"[01:05] {describe(progress(), math.inf)}"
    assert lines[2:] == ["[01:05] evaluating", "[01:05]   3/3 policies evaluated"]


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one(clock):
    screen, stream = shown()
    with screen:
        for _ in range(100):
            clock.now += 1
            screen.searching(progress())
        assert 9 <= stream.getvalue().count("\n") <= 11
        before = stream.getvalue().count("\n")
        screen.searching(progress(env_steps=1_000_000))
        assert stream.getvalue().count("\n") == before + 1


def test_the_first_progress_of_a_phase_is_shown_at_once(clock):
    screen, stream = shown()
    with screen:
        screen.phase("evaluating")
        screen.evaluating(1, 30)
        screen.evaluating(2, 30)
    assert [line[8:] for line in stream.getvalue().splitlines()] == [
        "evaluating",
        "  1/30 policies evaluated",
    ]


def test_before_anything_came_it_says_what_is_waited_for():
    assert describe(progress(env_steps=0, snapshots=0), 5.0) == FIRST
    # A resumed search has what came before, and says how far that was.
    assert "25%" in describe(progress(before=250_000), 5.0)
    assert describe(progress(before=250_000, snapshots=0), 5.0) == FIRST


def test_lines_of_several_threads_stay_whole():
    screen, stream = shown()
    threads = [
        threading.Thread(target=lambda: [screen.note("x" * 300) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert {line[8:] for line in lines} == {f"  {'x' * 300}"}
