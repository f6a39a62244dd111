"""What the live view is told: how much of a phase is done, how long it takes yet, a short curve."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.population.progress import Progress
from search.runs.display.state import MOST_KEPT, Curve, Seen


def progress(**changes):
    return Progress(
        **{
            "env_steps": 400, "budget": 1_000, "running": 1, "members": 4, "snapshots": 9,
            "best_return": 5.0, "sparsest_good": 0.5, "failures": 0, **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "share", "left"),
    [
        (Seen("loading"), None, math.inf),
        (Seen("evaluating", in_phase=30.0, done=(3, 4)), 0.75, 10.0),
        (Seen("evaluating", in_phase=30.0, done=(0, 4)), 0.0, math.inf),
        (Seen("evaluating", done=(0, 0)), 1.0, 0.0),
        (Seen("training", training_left=30.0, progress=progress()), 0.4, 30.0),
        (Seen("training", progress=progress(env_steps=0, snapshots=0)), None, math.inf),
        (
            Seen(
                "training",
                in_phase=20.0,
                training_left=60.0,
                progress=progress(budget=None, seconds_left=60.0),
            ),
            0.25,
            60.0,
        ),
    ],
)
def test_share_and_time_left(seen, share, left):
    assert seen.share == share
    assert seen.left == pytest.approx(left)


@given(st.lists(st.integers(1, 5_000), max_size=600))
def test_a_curve_keeps_few_of_many_in_their_order_and_goes_on_to_the_end(steps):
    curve, clock = Curve(), 0
    for step in steps:
        clock += step
        curve.add(clock, float(clock))
    kept = curve.values
    assert len(kept) <= MOST_KEPT
    assert list(kept) == sorted(set(kept))
    if len(steps) <= MOST_KEPT:
        assert len(kept) == len(steps)
    elif steps:
        # Nothing is missing for longer than a few parts of the whole.
        ends = [0.0, *kept, float(clock)]
        widest = max(b - a for a, b in itertools.pairwise(ends))
        assert widest <= 8 * clock / MOST_KEPT + 2 * max(steps)


def test_a_curve_leaves_out_what_is_unknown():
    curve = Curve()
    curve.add(10, math.nan)
    curve.add(20, 0.5)
    curve.add(30, math.nan)
    assert curve.values == (0.5,)
