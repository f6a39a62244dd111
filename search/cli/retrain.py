"""`prunefront retrain`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rllib_ext.pruning.errors import ConfigError
from search.cli.output import LOADING, Output, output_options
from search.cli.shared import Folder, saying_what_is_safe


@click.command()
@click.argument("folder", type=Folder())
@click.option(
    "--points",
    default="goal,knee,keeps_95,keeps_99",
    show_default=True,
    help="Front points: ids, goal, knee, keeps_95, keeps_99, or all; separated by commas.",
)
@click.option("--seeds", default=5, show_default=True, help="Trainings of each recipe.")
@click.option("--address", help="Address of a Ray cluster. Default: one on this machine.")
@output_options
def retrain(folder: Path, points: str, seeds: int, address: str | None, output_to: Output) -> None:
    """Replay the recipes of front points of the results FOLDER on fresh seeds.

    A recipe is all that a policy's lineage trained with, from its birth. Each is trained again from
    fresh weights (or from init_checkpoint), with the engine of the search, and evaluated on the seeds of
    the front's figures. The report then shows "this checkpoint" and "this recipe" side by side. Run
    again, what is done is not done again; more points or seeds are added.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: expected 1 or more; an interval needs 3.")
    wanted = [name.strip() for name in points.split(",") if name.strip()]
    from search.report.terminal import recipe_check

    folder = folder.resolve()
    go_on = f"What is done is safe in {folder / 'retrain'}; the same command goes on."
    with (
        saying_what_is_safe(folder, lambda: go_on, output_to.interrupted),
        output_to.display() as display,
    ):
        display.phase(LOADING)
        from search.runs.retrain import run_retrain

        results = run_retrain(
            folder,
            wanted,
            seeds,
            command=["prunefront", *sys.argv[1:]],
            display=display,
            address=address,
        )
    output_to.tell(
        f"{recipe_check(results)}\nreport: {results.page}",
        "retrained",
        folder=str(results.folder),
        report=str(results.page),
        recipes=results.recipe_check.to_dict("records"),
    )
