"""report.html, and what every page has: it works offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from search.front.results import Results
from search.report import facts, record
from search.report.card import choice
from search.report.charts.data import cloud_points
from search.report.charts.front import front_chart
from search.report.charts.history import hypervolume_chart, lineage_chart, training_chart
from search.report.charts.importance import importance_chart
from search.report.charts.layers import layer_cells, layers_chart
from search.report.charts.parallel import parallel_chart
from search.report.charts.recipes import recipes_chart
from search.report.charts.theme import COLORS, Drawing, specification, with_variables
from search.report.exported import export_notes
from search.report.generalisation import NOTE, generalisation_rows
from search.report.health import health
from search.report.provisional import CAPTION as PROVISIONAL
from search.report.provisional import is_provisional
from search.report.verdict import RECIPE_CHECK, RIVALS, verdict


def page(results: Results) -> str:
    """The whole report as one HTML document without any outside reference."""
    cloud, snapshots = cloud_points(results)
    return render(
        "page.html.j2",
        _charts(results),
        title=results.name,
        verdict=verdict(results),
        front=results.confirmed,
        results=results,
        cautions=[*(f"{note}." for note in results.confirmed.notes), *health(results)],
        choice=choice(results),
        export_notes=export_notes(results),
        shifted=generalisation_rows(results),
        shifted_note=NOTE,
        recipe_check=RECIPE_CHECK,
        rivals_note=RIVALS,
        provisional=PROVISIONAL if is_provisional(results) else "",
        shown=len(cloud),
        snapshots=snapshots,
    )


def render(template: str, charts: Mapping[str, Drawing], **values: Any) -> str:
    """A page with its charts and what draws them.

    Args:
        template: Name of a template that extends `base.html.j2`.
        charts: By the name that the template places them under.
        **values: What the template shows.
    """
    specs = {name: with_variables(specification(chart)) for name, chart in charts.items()}
    # Charts share data: each table stands in the page once.
    datasets: dict[str, Any] = {}
    for spec in specs.values():
        datasets |= spec["datasets"]
        spec["datasets"] = sorted(spec["datasets"])
    environment = Environment(
        loader=PackageLoader("search.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **values,
        facts=facts,
        record=record,
        charts={name: _json(spec) for name, spec in specs.items()},
        datasets=_json(datasets),
        descriptions={name: str(chart.description) for name, chart in charts.items()},
        colors=COLORS,
        runtime=_runtime(),
    )


@cache
def _runtime() -> str:
    """Vega, Vega-Lite and vega-embed as one script; building it takes a second."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _charts(results: Results) -> dict[str, Drawing]:
    charts: dict[str, Drawing] = {
        "front_weights": front_chart(results, "weights", "container", 430),
        "front_sparsity": front_chart(results, "sparsity", "container", 430),
        "training_return": training_chart(results, "return_mean", "container"),
        "training_sparsity": training_chart(results, "sparsity", "container"),
        "lineage": lineage_chart(results, "container"),
    }
    if any(s.usable for s in results.records):
        charts["parallel"] = parallel_chart(results, "container")
    if not results.confirmed.scale.note:
        for clock, over in (("env_steps", "steps"), ("minutes", "time")):
            for value in ("decades", "sparsity"):
                charts[f"hypervolume_{value}_{over}"] = hypervolume_chart(
                    results, f"over_{value}", "container", clock=clock
                )
    if len(results.importance.table):
        charts["importance"] = importance_chart(results.importance, "container")
    if len(layer_cells(results)):
        charts["layers"] = layers_chart(results, "container")
    if len(results.recipe_check):
        charts["recipes"] = recipes_chart(results, "container")
    return charts


def _json(spec: dict[str, Any]) -> str:
    """JSON that can stand in a script element: no text of a run can close it."""
    text = json.dumps(spec, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def still(chart: Drawing) -> dict[str, Any]:
    """A chart's specification for PNG and SVG: on white."""
    return {**specification(chart), "background": "white", "padding": 16}
