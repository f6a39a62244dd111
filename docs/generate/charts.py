"""Charts of the run in results/example, drawn by the code that draws a report's."""

from __future__ import annotations

import shutil
from pathlib import Path

import search


def write_charts(example: Path, target: Path) -> None:
    """Writes the pictures that pages show.

    Args:
        example: A results folder.
        target: The folder to write into; made when missing.
    """
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(example / "front.png", target)
    results = search.load(example)
    charts = {
        "hypervolume": results.hypervolume_chart(),
        "training_sparsity": results.training_chart("sparsity"),
        "layers": results.layers_chart(),
    }
    for name, chart in charts.items():
        chart.properties(width=640).save(target / f"{name}.svg")
