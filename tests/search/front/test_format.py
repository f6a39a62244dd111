import math

import pytest

from search.front.format import duration, marks, number, percent, recipe, share, size, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (500.0, "500"), (492.57, "492.6"), (84.268, "84.27"), (0.12345, "0.123"), (-5.54, "−5.54"),
        (1234567, "1,234,567"), (-1085.25, "−1,085.2"), (math.nan, "–"), (math.inf, "–"), (None, "–"),
        (0.00042, "0.00042"), (-0.0003, "−0.0003"), (-1.23456e-7, "−1.23e−07"), (0.0014, "0.0014"),
        (-1e30, "−1e+30"), (1.23456e15, "1.235e+15"), (-1234, "−1,234"), (-0.0, "0"),
    ],
)  # fmt: skip
def test_numbers_keep_the_digits_that_matter(value, text):
    assert number(value) == text


def test_other_quantities_carry_their_units():
    assert percent(0.98794) == "98.79 %"
    assert percent(0.9998) == "99.98 %"
    assert percent(0.99996) == "99.9960 %"
    assert percent(0.9999992) == "99.999920 %"
    assert percent(1.0) == "100.00 %"
    assert percent(math.nan) == "–"
    assert share(-0.026) == "−0.03"
    assert [size(n) for n in (928, 18820, 2.5e6, None)] == ["928 B", "18.8 kB", "2.5 MB", "–"]
    assert [duration(n) for n in (31.2, 251.5, 9000)] == ["31 s", "4.2 min", "2.5 h"]
    assert span(1.5, 500) == "1.50 to 500"
    assert span(math.nan, 500) == ""


def test_marks_name_each_pick_once():
    assert marks({"keeps_95": True, "keeps_99": True, "knee": True}) == "keeps 95 % and 99 %, knee"
    assert marks({"keeps_95": True, "keeps_99": False}) == "keeps 95 %"
    assert marks({"knee": False}) == ""
    assert marks({"goal": True, "keeps_99": True}) == "meets the goal, keeps 99 %"


@pytest.mark.parametrize(
    ("retained", "told"),
    [
        (0.994, "keeps 95 % and 99 %, knee"),
        (0.96, "keeps 95 %, chosen for 99 %, knee"),
        (0.94, "chosen for 95 % and 99 %, knee"),
        (math.nan, "keeps 95 % and 99 %, knee"),
    ],
)
def test_what_fresh_episodes_do_not_show_is_not_said_to_be_kept(retained, told):
    row = {"keeps_95": True, "keeps_99": True, "knee": True, "retained": retained}
    assert marks(row) == told


def test_a_recipe_is_sorted_and_short():
    assert recipe({"lr": 0.000123456, "epochs": 4, "a": "cubic"}) == (
        "a = cubic\nepochs = 4\nlr = 0.0001235"
    )
