"""The comparison's first sentence: how few weights keep 95 %, group by group."""

import dataclasses
import math

import pandas as pd
import pytest

from search.front.comparison import AREAS, Comparison, group_of
from search.front.retained import Scale
from search.report.comparison_markdown import comparison_markdown
from search.report.comparison_page import comparison_text, headline, search_rows, sentences

NAN = math.nan
NO_POINTS = pd.DataFrame(columns=["group", "weights", "low", "median", "high"])


def compared(**weights):
    """Groups of searches, each by the weights of its pick at 95 %; None: it has no scale of its own."""
    searches = [
        {
            "group": name, "folder": f"{name}{i}", "seed": i, "points": 3, "training_steps": 1_000,
            "wall_time": 9.0, "weights_95": float(n or NAN), "weights_99": NAN,
            "measured": n is not None,
            **dict.fromkeys(AREAS, 1.0 + 0.1 * i),
        }
        for name, picks in weights.items()
        for i, n in enumerate(picks)
    ]  # fmt: skip
    rows = pd.DataFrame(searches)
    groups = pd.DataFrame(
        [group_of(name, part) for name, part in rows.groupby("group", sort=False)]
    )
    scale = Scale(random=0.0, dense=100.0, floor=0.0)
    return Comparison(rows, groups, NO_POINTS, NO_POINTS, scale, "CartPole-v1", ())


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (
            {"B": [320], "A": [139]},
            "A keeps 95 % of the dense policy with 139 weights, B with 320 weights.",
        ),
        ({"A": [1_390]}, "A keeps 95 % of the dense policy with 1,390 weights."),
        (
            {"A": [139], "B": [NAN]},
            "A keeps 95 % of the dense policy with 139 weights; no policy of B keeps it.",
        ),
        ({"A": [NAN], "B": [NAN]}, "No policy of A or B keeps 95 % of the dense policy."),
        (
            {"A": [100, 120], "B": [90, NAN]},
            "B keeps 95 % of the dense policy with 90 weights (1 of 2 searches), A with 110 weights "
            "(2 searches).",
        ),
        (
            {"A": [139], "B": [None], "C": [NAN, None]},
            "A keeps 95 % of the dense policy with 139 weights; no policy of C keeps it; of B nobody "
            "knows, without a dense baseline that is a measure.",
        ),
        (
            {"A": [100, 120, None]},
            "A keeps 95 % of the dense policy with 110 weights (2 of 3 searches, 1 of them unmeasured).",
        ),
    ],
)
def test_the_headline_says_how_few_weights_keep_95_percent(weights, told):
    assert headline(compared(**weights)) == told


def test_repeats_have_an_interval_over_whole_searches():
    comparison = compared(A=[100, 120, 110, 140, 130], B=[900])
    (row, _) = comparison.groups.to_dict("records")
    assert row["weights_95"] == pytest.approx(120.0)
    assert 100 <= row["weights_95_low"] < 120 < row["weights_95_high"] <= 140
    low, high = (f"{row[f'weights_95_{end}']:,.0f}" for end in ("low", "high"))
    assert f"with 120 weights (95 % interval {low} to {high}, 5 searches)" in headline(comparison)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [([12_345, 2**63], ["12345", "9223372036854775808"]), ([7, None], ["7", "–"])],
)
def test_seeds_stand_there_as_they_are_typed(seeds, told):
    comparison = compared(A=[139, 120])
    searches = comparison.searches.assign(seed=seeds)
    rows = search_rows(dataclasses.replace(comparison, searches=searches))
    assert [row["seed"] for row in rows] == told


def test_every_form_of_the_comparison_begins_with_it():
    comparison = compared(A=[139], B=[320])
    told = headline(comparison)
    assert sentences(comparison)[0] == told
    assert comparison_text(comparison).startswith(told)
    assert f"**{told}**" in comparison_markdown(comparison)


def test_without_a_common_scale_nobody_knows_what_is_kept():
    comparison = dataclasses.replace(compared(A=[139]), scale=Scale(note="no dense baseline"))
    assert headline(comparison) == ""
    assert sentences(comparison) == []
