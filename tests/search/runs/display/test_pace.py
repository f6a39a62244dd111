"""How fast members train, and how long they will yet."""

import math

import pytest

from search.population.progress import Progress
from search.runs.display.pace import Pace


def progress(env_steps, **changes):
    return Progress(
        **{
            "env_steps": env_steps, "budget": 1_000, "running": 1, "members": 4, "snapshots": 9,
            "best_return": 5.0, "sparsest_good": 0.5, "failures": 0, **changes,
        }
    )  # fmt: skip


def pace_of(*heard, **changes):
    pace = Pace()
    for now, env_steps in heard:
        pace.add(now, progress(env_steps, **changes))
    return pace


def test_what_processes_take_to_start_does_not_count():
    pace = pace_of((0.0, 0), (90.0, 100), (100.0, 200), (110.0, 300))
    assert pace.speed == pytest.approx(10.0)
    assert pace.left(110.0, progress(300)) == pytest.approx(70.0)
    # Between two results time goes on.
    assert pace.left(115.0, progress(300)) == pytest.approx(65.0)
    assert pace.left(999.0, progress(300)) == 0.0


@pytest.mark.parametrize("heard", [[], [(50.0, 100)], [(50.0, 100), (51.0, 150)]])
def test_one_result_says_nothing_yet(heard):
    pace = pace_of(*heard)
    assert math.isnan(pace.speed)
    assert pace.left(51.0, progress(150)) == math.inf


def test_what_an_earlier_process_did_takes_no_part():
    pace = pace_of((0.0, 600), (30.0, 650), (40.0, 700), before=600)
    assert pace.speed == pytest.approx(5.0)


def test_of_two_limits_the_nearer_one_holds():
    pace = pace_of((0.0, 100), (10.0, 200))
    assert pace.left(10.0, progress(200, seconds_left=7.0)) == 7.0
    assert pace.left(10.0, progress(200, seconds_left=700.0)) == pytest.approx(80.0)
    assert pace.left(10.0, progress(200, budget=None, seconds_left=33.0)) == 33.0
