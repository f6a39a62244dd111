"""The live view in a process on a pseudo-terminal: who else writes there, resizing, ctrl-C, an error."""

import signal
import sys

import pytest
from command_line import environment, wait_until
from pty_screen import Screen

# Some of it printed by Python, some written by others to the descriptor itself.
PROGRAM = """
import os, sys, time
from search.population.progress import Point, Progress
from search.runs.display.opened import display_for

def progress(share):
    return Progress(int(1e6 * share), 10**6, 2, 8, 9, 480.0, 0.98, 0, waiting=6,
                    front=(Point(480.0, 0.98, 90, 0.96),), hypervolume=share)

with display_for() as display:
    display.phase("training 8 members")
    display.searching(progress(0.25))
    print("said by python")
    os.write(2, b"said by C++\\n(raylet) in \\x1b[31mred\\x1b[0m\\n")
    display.note("waiting for rain")
    {then}
print("the outcome")
"""


@pytest.fixture
def run(tmp_path_factory):
    screens, temporary = [], tmp_path_factory.mktemp("temporary")

    def start(then, columns=80, lines=24):
        words = [sys.executable, "-c", PROGRAM.replace("{then}", then)]
        variables = {**environment(), "TERM": "xterm", "TMPDIR": str(temporary)}
        screens.append(Screen(words, columns, lines, env=variables))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


def assert_restored(screen):
    assert not screen.pyte.cursor.hidden
    assert "env steps" not in screen.text
    assert "━" not in screen.text


def test_what_others_write_stands_above_the_view_which_is_gone_at_the_end(run):
    screen = run("time.sleep(1.0); display.searching(progress(0.5)); time.sleep(1.0)")
    screen.wait_for(" 50%")
    for said in ("said by python", "said by C++", "(raylet) in red", "[00:00]   waiting for rain"):
        assert screen.text.count(said) == 1
        assert screen.text.index(said) < screen.text.index("━")
    assert screen.text.count("env steps") == 1
    assert "    90    98.00 %        480    96 %" in screen.text
    assert screen.ended() == 0
    assert_restored(screen)
    assert screen.lines[-1] == "the outcome"
    assert screen.lines[0] == "[00:00] training 8 members"


def test_a_terminal_that_is_resized_shows_it_once(run):
    screen = run("time.sleep(4.0)")
    screen.wait_for(" 25%")
    screen.resize(120, 24)
    screen.wait_for("━" * 20 + "─" * 50)
    screen.resize(60, 10)
    screen.wait_for(
        lambda text: "env steps" in text and all(len(line) < 60 for line in text.splitlines())
    )
    screen.read(0.6)
    assert screen.text.count("env steps") == 1


def test_ctrl_c_gives_the_terminal_back(run):
    screen = run("time.sleep(60)")
    screen.wait_for(" 25%")
    screen.type("\x03")
    assert screen.ended() == -signal.SIGINT
    assert_restored(screen)
    assert "KeyboardInterrupt" in screen.text


def test_an_error_is_to_be_seen_whole(run):
    screen = run("raise ValueError('broken')")
    assert screen.ended() == 1
    assert_restored(screen)
    assert screen.lines[-1] == "ValueError: broken"


def test_a_view_that_fails_takes_nothing_along(run):
    screen = run(
        "import search.runs.display.terminal as t; t.view = None; time.sleep(1.0); print('after')"
    )
    assert screen.ended() == 0
    assert "TypeError" in screen.text
    for said in ("said by python", "said by C++", "after", "the outcome"):
        assert screen.text.count(said) == 1


def test_what_a_process_said_that_dies_at_once_is_on_disk(run, tmp_path):
    screen = run(
        f"import tempfile; os.write(2, b'last words\\n'); os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    screen.env["TMPDIR"] = str(tmp_path)
    screen.start()
    assert screen.ended() == -signal.SIGKILL
    (kept,) = tmp_path.glob("prunefront-messages-*.log")
    assert kept.read_text().endswith("last words\n")


def test_orderly_ends_leave_nothing_in_the_temporary_folder(run, tmp_path):
    screen = run("pass")
    screen.env["TMPDIR"] = str(tmp_path)
    screen.start()
    assert screen.ended() == 0
    wait_until(lambda: not list(tmp_path.iterdir()), 5)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_only_write_gets_lines(run, term):
    screen = run("pass")
    screen.env["TERM"] = term
    screen.start()
    assert screen.ended() == 0
    assert "\x1b[J" not in screen.raw
    assert "[00:00]    25% · 250,000 of 1,000,000 env steps" in screen.text.replace("\n", " ")


def test_output_that_goes_to_a_file_is_left_alone(run, tmp_path):
    screen = run("time.sleep(0.6)")
    screen.stdout = tmp_path / "told"
    screen.start()
    assert screen.ended() == 0
    assert (tmp_path / "told").read_text() == "said by python\nthe outcome\n"
    assert "said by python" not in screen.text
