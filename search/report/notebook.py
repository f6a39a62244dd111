"""The results that `search.load` returns: they display themselves in notebooks and have charts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import altair
from markupsafe import escape

from search.front.read_results import read_results
from search.front.results import Results
from search.report import facts
from search.report.charts.front import front_chart
from search.report.charts.history import hypervolume_chart, lineage_chart, training_chart
from search.report.charts.importance import importance_chart
from search.report.charts.layers import layers_chart
from search.report.charts.parallel import parallel_chart
from search.report.charts.recipes import recipes_chart
from search.report.take_it import take_the_pick
from search.report.verdict import verdict


@dataclasses.dataclass(frozen=True, repr=False)
class ShownResults(Results):
    """One search, from its folder, with the report's charts."""

    def front_chart(self, *, axis: str = "weights") -> altair.TopLevelMixin:
        """The front with intervals and baselines.

        Args:
            axis: "weights" for non-zero weights on a logarithmic axis, or "sparsity".
        """
        return front_chart(self, axis=axis)

    def hypervolume_chart(self, *, clock: str = "env_steps") -> altair.TopLevelMixin:
        """Hypervolume of the search scores over the search.

        Args:
            clock: "env_steps" of all members, or "minutes" of wall-clock.
        """
        return hypervolume_chart(self, clock=clock)

    def training_chart(self, value: str = "return_mean") -> altair.TopLevelMixin:
        """Each member over training.

        Args:
            value: "return_mean" or "sparsity".
        """
        return training_chart(self, value)

    def lineage_chart(self) -> altair.TopLevelMixin:
        """The family tree: who copied whom."""
        return lineage_chart(self)

    def layers_chart(self) -> altair.TopLevelMixin:
        """Sparsity of each layer along the front."""
        return layers_chart(self)

    def recipes_chart(self) -> altair.TopLevelMixin:
        """Recipes on fresh seeds beside their checkpoints; needs a row in `recipe_check`."""
        return recipes_chart(self)

    def importance_chart(self) -> altair.TopLevelMixin:
        """Exploratory hyperparameter importance; needs a row in `importance.table`."""
        return importance_chart(self.importance)

    def parallel_chart(self) -> altair.TopLevelMixin:
        """Segments as lines through their hyperparameters and objectives, with brushing."""
        return parallel_chart(self)

    def _repr_html_(self) -> str:
        return summary_html(self)


def load(folder: str | Path) -> ShownResults:
    """Reads a results folder.

    Args:
        folder: Such as "results/cartpole".

    Raises:
        ConfigError: `folder` is an address.
        ResultsError: The folder doesn't exist, is no results folder, holds no snapshot yet, or a
            file of it can't be read.
    """
    return shown(read_results(folder))


def shown(results: Results) -> ShownResults:
    """The same results, with charts."""
    fields = dataclasses.fields(Results)
    return ShownResults(**{field.name: getattr(results, field.name) for field in fields})


def summary_html(results: Results) -> str:
    """Verdict and before/after table."""
    rows = facts.before_after(results)
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    take = take_the_pick(results, str(results.folder))
    taken = f"<p>Take it: <code>{escape(take)}</code></p>" if take else ""
    return f"<h3>{escape(results.name)}</h3><p>{escape(verdict(results))}</p>{taken}{table}"
