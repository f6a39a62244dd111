"""The live view as text, at 80 and 120 columns and where there is less room."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from search.population.progress import Point, Progress
from search.runs.display.lines import FIRST
from search.runs.display.state import Seen
from search.runs.display.view import blocks, sparkline, spread, view

FRONT = tuple(
    Point(*values)
    for values in [
        (500.0, 0.0, 4480, 1.0), (498.2, 0.5, 2240, 0.996), (490.0, 0.9, 448, 0.98),
        (486.0, 0.95, 224, 0.97), (480.0, 0.98, 90, 0.96), (451.0, 0.99, 45, 0.9),
        (300.5, 0.995, 22, 0.6), (41.2, 0.9991, 4, 0.04),
    ]
)  # fmt: skip
TITLE = "training 16 members, 2 at a time on 2 cores, each in a process of its own, RLlib"


def progress(**changes):
    return Progress(
        **{
            "env_steps": 250_000, "budget": 1_000_000, "running": 3, "members": 16,
            "snapshots": 120, "best_return": 500.0, "sparsest_good": 0.98, "failures": 0,
            "dense": True, "waiting": 9, "unborn": 4, "given_up": 1, "front": FRONT,
            "hypervolume": 0.8765, **changes,
        }
    )  # fmt: skip


def seen(**changes):
    curve = tuple(math.sqrt(i / 40) for i in range(40))
    pace = {"speed": 4_166.7, "training_left": 180.0}
    return Seen(TITLE, 3723.0, 60.0, progress(), curve=curve, **{**pace, **changes})


def text(what, width=80, height=24):
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as drawn:
        console.print(view(what, width, height))
    return drawn.get()


def test_at_80_columns_all_of_it_is_there():
    assert text(seen()) == (
        "⠋ training 16 members, 2 at a time on 2 cores, each in a process of its… 1:02:03\n"
        "━━━━━━━━━━━━━━━────────────────────────────────────────────  25% · 3:00 min left\n"
        "env steps    250,000 of 1,000,000 · 4,167 a second\n"
        "members      dense baseline + 2 training · 9 waiting · 4 not begun · 1 given up\n"
        "hypervolume  0.876 ▂▃▃▄▄▄▅▅▅▅▆▆▆▆▆▇▇▇▇▇████\n"
        "so far       best return 500 · sparsest good 98.00 %\n"
        "  weights   sparsity     return   keeps  search scores, which are optimistic\n"
        "    4,480     0.00 %        500   100 %  ████████████████████████ best\n"
        "    2,240    50.00 %      498.2   100 %  ███████████████████████▉\n"
        "      448    90.00 %        490    98 %  ███████████████████████▌\n"
        "       90    98.00 %        480    96 %  ███████████████████████  sparsest good\n"
        "       45    99.00 %        451    90 %  █████████████████████▋\n"
        "       22    99.50 %      300.5    60 %  ██████████████▍\n"
        "        4    99.91 %      41.20     4 %  █\n"
    )


def test_at_120_columns_lines_end_where_they_still_read_well():
    lines = text(seen(), 120).splitlines()
    assert lines[0] == f"⠋ {TITLE}{' ' * 11}1:02:03"
    assert lines[1].endswith(" 25% · 3:00 min left")
    assert {len(line) for line in lines[:2]} == {100}
    assert lines[2:] == text(seen()).splitlines()[2:]


@given(st.integers(10, 130), st.integers(1, 40), st.booleans())
def test_no_line_is_longer_than_the_terminal_nor_are_there_more_than_it_has(width, height, known):
    what = seen() if known else Seen(TITLE, progress=progress(front=(), hypervolume=math.nan))
    lines = text(what, width, height).splitlines()
    assert 1 <= len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


def test_where_there_are_few_lines_the_front_goes_first():
    assert text(seen(), height=8) == "".join(text(seen()).splitlines(keepends=True)[:6])
    rows = text(seen(), height=12).splitlines()
    assert len(rows) == 11
    # Both ends stay.
    assert rows[7].startswith("    4,480")
    assert rows[-1].startswith("        4")


def test_what_is_not_known_is_not_shown():
    early = progress(
        env_steps=2_000, front=(Point(20.0, 0.0, 4480),), hypervolume=math.nan,
        sparsest_good=math.nan, dense=False, running=1, waiting=0, unborn=15, given_up=0,
    )  # fmt: skip
    told = text(Seen(TITLE, 9.0, 5.0, early))
    assert "hypervolume" not in told
    assert "left" not in told
    assert "members      1 training · 15 not begun\n" in told
    assert "    4,480     0.00 %         20       –   best\n" in told


def test_while_the_end_is_prepared_what_was_found_stays():
    what = Seen("writing the report", 300.0, 4.0, curve=(0.5, 0.8), found=progress())
    assert text(what).splitlines()[1:] == [
        "hypervolume  0.876 ▅█",
        *text(seen()).splitlines()[5:],
    ]


def test_failures_are_told():
    assert "\nfailed       3 segments\n" in text(Seen(TITLE, progress=progress(failures=3)))


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (Seen("starting Ray on this machine", 3.0, 0.0),
         ["⠋ starting Ray on this machine" + " " * 45 + "00:03"]),
        (Seen("training 4 members", 65.0, 0.25, progress(env_steps=0, snapshots=0)),
         ["⠙ training 4 members" + " " * 55 + "01:05", FIRST.strip()]),
        (Seen("evaluating 13 policies", 300.0, 20.0, None, (5, 13), "policies evaluated"),
         ["⠋ evaluating 13 policies" + " " * 51 + "05:00",
          "━" * 13 + "─" * 20 + "  38% · 5/13 policies evaluated · 0:32 min left"]),
    ],
)  # fmt: skip
def test_other_phases_say_what_is_waited_for(what, expected):
    assert text(what).splitlines() == expected


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60, unique=True), st.integers(1, 12))
def test_a_spread_keeps_both_ends_and_the_order(weights, count):
    front = [Point(float(w), 1 - w / 10**6, w) for w in sorted(weights, reverse=True)]
    shown = spread(front, count)
    assert len(shown) <= count
    assert shown == [point for point in front if point in shown]
    assert shown[-1] == front[-1]
    assert count == 1 or shown[0] == front[0]
    assert len(front) > count or shown == front


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0.0, ""),
        (0.5, "██"),
        (0.53, "██▏"),
        (1.0, "████"),
        (7.0, "████"),
        (-1.0, ""),
        (math.nan, ""),
    ],
)
def test_bars_have_eighths(share, bar):
    assert blocks(share, 4) == bar


def test_a_sparkline_ends_with_the_last_value_and_has_no_more_cells_than_it_may():
    assert sparkline([], 8) == sparkline([0.0, 0.0], 8) == ""
    assert sparkline([0.0, 0.5, 1.0], 8) == "▁▅█"
    assert sparkline([*[1.0] * 99, 0.0], 10) == "█" * 9 + "▁"
