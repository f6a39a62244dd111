"""What a person sees of a search, on a terminal and in a log."""

import io
import math

import pytest
from rich.console import Console

from search.population.progress import Progress
from search.runs import display
from search.runs.display import SearchDisplay, describe


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


def shown(*, terminal, width=40):
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=terminal, width=width, highlight=False, legacy_windows=False
    )
    return SearchDisplay(console), stream


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""

    class Clock:
        now = 1_000.0

    monkeypatch.setattr(display.time, "monotonic", lambda: Clock.now)
    return Clock


def test_one_line_says_how_far_a_search_is():
    assert describe(progress(), 60.0) == (
        "   25% · 250,000 of 1,000,000 env steps · 2 of 8 members in training · best return 487.2 · "
        "sparsest good 98.77 % · 3:00 min left"
    )


@pytest.mark.parametrize(
    ("changes", "elapsed", "there", "missing"),
    [
        ({"env_steps": 0, "best_return": math.nan, "sparsest_good": math.nan}, 9.0,
         "best return – · sparsest good –", "left"),
        ({"env_steps": 10_000}, 9.0, "1%", "left"),
        ({"env_steps": 1_004_000}, 9.0, "100%", "101%"),
        ({"env_steps": 500_000}, 8_000.0, "2 h 13 min left", "133"),
        # A resumed search: what was done before took no time of this process.
        ({"env_steps": 500_000, "before": 250_000}, 60.0, "2:00 min left", "1:00"),
        ({"env_steps": 500_000, "before": 490_000}, 60.0, "50%", "left"),
        ({"failures": 3}, 9.0, "3 failed", "–"),
        ({"best_return": -1234.5678}, 9.0, "best return -1235", "–"),
        ({"best_return": 0.012345}, 9.0, "best return 0.01235", "–"),
    ],
)  # fmt: skip
def test_the_line_suits_what_is_known(changes, elapsed, there, missing):
    line = describe(progress(**changes), elapsed)
    assert there in line
    assert missing not in line


def test_a_log_gets_whole_lines_without_control_characters(clock):
    screen, stream = shown(terminal=False)
    with screen:
        screen.phase("training [8] members")
        clock.now += 65
        screen.searching(progress())
        screen.phase("evaluating")
        screen.evaluating(3, 3)
    text = stream.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    lines = text.splitlines()
    # Far wider than the console, and not wrapped; brackets are not taken for markup.
    assert lines[0] == "[00:00] training [8] members"
    assert lines[1] == f"[01:05] {describe(progress(), 65.0)}"
    assert lines[2:] == ["[01:05] evaluating", "[01:05]   3/3 policies evaluated"]


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one(clock):
    screen, stream = shown(terminal=False)
    with screen:
        for _ in range(100):
            clock.now += 1
            screen.searching(progress())
        assert 9 <= stream.getvalue().count("\n") <= 11
        before = stream.getvalue().count("\n")
        screen.searching(progress(env_steps=1_000_000))
        assert stream.getvalue().count("\n") == before + 1


def test_the_first_progress_of_a_phase_is_shown_at_once(clock):
    screen, stream = shown(terminal=False)
    with screen:
        screen.phase("evaluating")
        screen.evaluating(1, 30)
        screen.evaluating(2, 30)
    assert [line[8:] for line in stream.getvalue().splitlines()] == [
        "evaluating",
        "  1/30 policies evaluated",
    ]


def test_a_terminal_gets_a_live_line_that_is_gone_at_the_end():
    screen, stream = shown(terminal=True, width=200)
    with screen:
        screen.phase("training")
        screen.searching(progress())
        screen._live.refresh()
        assert "best return 487.2" in stream.getvalue()
        assert "\x1b[?25l" in stream.getvalue()
    text = stream.getvalue()
    # The cursor is shown again, and the live line erased.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "\x1b[2K" in text[text.rindex("best return") :]
    assert "training" in text


def test_the_terminal_is_restored_after_an_error():
    screen, stream = shown(terminal=True)
    with pytest.raises(KeyboardInterrupt), screen:
        raise KeyboardInterrupt
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
