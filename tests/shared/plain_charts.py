"""Reports whose charts are a point each: for tests of all else that a report is."""

import contextlib

import altair as alt
import pandas as pd
import pytest

import search.report.page
import search.report.write
from search.report.charts.theme import finished

# What a page of any search shows.
NAMES = ("front_weights", "front_sparsity", "training_return", "training_sparsity", "lineage")


@contextlib.contextmanager
def plain_charts():
    point = alt.Chart(pd.DataFrame({"x": [1.0]})).mark_point().encode(x="x:Q")
    plain = finished(point, 40, 30, "A point.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.report.page, "_charts", lambda results: dict.fromkeys(NAMES, plain))
        patch.setattr(search.report.write, "front_chart", lambda *arguments: plain)
        yield


def plain_page(results):
    """The page's text."""
    with plain_charts():
        return search.report.page.page(results)
