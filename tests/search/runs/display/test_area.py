"""The lowest lines of a terminal, on a terminal that pyte plays."""

import io

import pyte
import pytest

from search.runs.display.area import Area


class Played:
    """A terminal: what is written to it, and what it shows then."""

    def __init__(self, columns=40, lines=12):
        self.screen = pyte.Screen(columns, lines)
        self.screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.screen)

    def write(self, text):
        self._stream.feed(text)

    def flush(self):
        pass

    @property
    def shown(self):
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines


@pytest.fixture
def terminal():
    return Played()


def test_it_is_drawn_in_place_below_what_stays(terminal):
    area = Area(terminal)
    area.draw(["one", "two", "three"], 40)
    area.draw(["four", "five"], 40, ["a phase"])
    area.draw(["six"], 40, ["another"])
    assert terminal.shown == ["a phase", "another", "six"]


def test_shorter_lines_leave_nothing_of_longer_ones(terminal):
    area = Area(terminal)
    area.draw(["a long line", "\x1b[32mgreen and long\x1b[0m"], 40)
    area.draw(["a", "b"], 40)
    assert terminal.shown == ["a", "b"]


def test_a_long_line_above_is_kept_whole(terminal):
    area = Area(terminal)
    area.draw(["view"], 40)
    area.draw(["view"], 40, ["x" * 100])
    assert terminal.shown == ["x" * 40, "x" * 40, "x" * 20, "view"]


def test_it_scrolls_at_the_bottom_of_the_screen(terminal):
    area = Area(terminal)
    for number in range(30):
        area.draw(["upper", "lower"], 40, [f"phase {number}"])
    assert terminal.shown == [*(f"phase {n}" for n in range(21, 30)), "upper", "lower"]


def test_what_the_terminal_itself_echoes_is_gone_with_the_next_drawing(terminal):
    area = Area(terminal)
    area.draw(["upper", "lower"], 40)
    terminal.write("^C")
    area.draw(["upper", "lower"], 40)
    assert terminal.shown == ["upper", "lower"]


def test_nothing_of_it_stays_at_the_end_and_the_cursor_is_to_be_seen(terminal):
    area = Area(terminal)
    area.draw(["upper", "lower"], 40, ["a phase"])
    area.draw([], 40, ["another"])
    assert terminal.shown == ["a phase", "another"]
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.cursor.y == 2


@pytest.mark.parametrize("columns", [10, 13, 20, 39])
def test_a_terminal_that_becomes_narrower_and_wraps_is_cleared(columns):
    """As most terminals do: pyte cuts lines off, so the wrapped screen is made by hand."""
    before = ["v" * 30, "w" * 12, "x"]
    narrow = Played(columns)
    narrow.write("a phase\n" + "".join(f"{line}\n" for line in before))
    area = Area(io.StringIO())
    area.draw(before, 40)
    area._stream = narrow
    area.draw(["new", "lines"], columns)
    assert narrow.shown == ["a phase", "new", "lines"]


def test_a_terminal_that_becomes_wider_shows_it_once(terminal):
    area = Area(terminal)
    area.draw(["upper", "lower"], 40, ["a phase"])
    terminal.screen.resize(12, 60)
    area.draw(["u" * 55, "lower"], 60)
    assert terminal.shown == ["a phase", "u" * 55, "lower"]
