"""Charts of the run in results/example, drawn by the code that draws a report's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import search
from search.report.notebook import ShownResults

COPIED = ("front.png",)
DRAWN: dict[str, Callable[[ShownResults], Any]] = {
    "hypervolume.svg": ShownResults.hypervolume_chart,
    "layers.svg": ShownResults.layers_chart,
    "training_sparsity.svg": lambda results: results.training_chart("sparsity"),
}
PICTURES = (*COPIED, *DRAWN)


def write_charts(example: Path, target: Path) -> None:
    """Writes the pictures that pages show.

    Args:
        example: A results folder.
        target: The folder to write into; made when missing.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(example / name, target)
    results = search.load(example)
    for name, chart in DRAWN.items():
        chart(results).properties(width=640).save(target / name)
