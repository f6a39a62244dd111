"""`prunefront prune` and `sensitivity`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from rllib_ext.pruning.config import Criterion
from rllib_ext.pruning.errors import ConfigError
from search.cli.output import LOADING, Output, output_options
from search.cli.shared import Folder, warn

CRITERIA = "One of " + ", ".join(get_args(Criterion)) + "."


@click.command()
@click.argument("checkpoint", type=Folder())
@click.option("--sparsity", type=float, multiple=True, help="Share of weights to zero; repeatable.")
@click.option("--threshold", type=float, multiple=True, help="Prune what scores less; repeatable.")
@click.option("--threshold-unit", default="absolute", show_default=True, help="absolute or std.")
@click.option("--criterion", default="magnitude", show_default=True, help=CRITERIA)
@click.option(
    "--granularity", default="weight", show_default=True, help="weight, neuron, layer or branch."
)
@click.option("--scope", default="global", show_default=True, help="global, layerwise or erk.")
@click.option("--critic-sparsity", default=0.0, show_default=True, help="The critic's own target.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Layers to leave; repeatable.")
@click.option("--retrain", default=0, show_default=True, help="Iterations of training afterwards.")
@click.option("--lr", type=float, help="Learning rate of training.  [default: the checkpoint's]")
@click.option("--gather", default=1, show_default=True, help="Iterations that inform a criterion.")
@click.option("--episodes", default=100, show_default=True, help="Fresh episodes a figure.")
@click.option("--seed", default=0, show_default=True, help="Of episodes and training.")
@click.option("--env", help="Id or package.module:Class, where the checkpoint's isn't enough.")
@click.option("--output", type=Folder(), help="Results folder; new or empty.")
@output_options
def prune(
    checkpoint: Path, output: Path | None, env: str | None, output_to: Output, **how: Any
) -> None:
    """Prune the RLlib PPO algorithm CHECKPOINT at several levels: no search.

    Without --sparsity and --threshold at 0.5, 0.75, 0.9, 0.95 and 0.98. With --retrain masks are held;
    --sparsity 0 then shows what the same training does to the network as it is. The criteria gradient,
    movement and activation are gathered in training (--gather) that is thrown away afterwards.
    """
    from search.runs.prune_settings import levels_table, settings_from
    from search.store.folder import place_of, refuse_taken

    settings = settings_from(checkpoint, **how)
    refuse_taken(place_of(settings.name, output))
    with output_to.display() as display:
        display.phase(LOADING)
        from search.runs.inputs import open_checkpoint
        from search.runs.prune import run_prune
        from search.runs.session import connected, starting_ray

        ppo = open_checkpoint(checkpoint, env, warn)
        display.phase(starting_ray(None))
        with connected():
            results = run_prune(
                settings,
                ppo,
                output,
                command=["prunefront", *sys.argv[1:]],
                phase=display.phase,
            )
    from search.report.verdict import verdict

    output_to.tell(
        f"{levels_table(results)}\nresults: {results.folder}\nreport: {results.page}",
        "pruned",
        folder=str(results.folder),
        report=str(results.page),
        verdict=verdict(results),
        levels=results.confirmed.candidates.to_dict("records"),
    )


@click.command()
@click.argument("path", metavar="CHECKPOINT|POLICY", type=Folder())
@click.option(
    "--sparsity",
    type=float,
    multiple=True,
    help="Of each layer, above 0; repeatable. Default: 0.5, 0.8, 0.9, 0.95, 0.98 and 1.",
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Layers to leave; repeatable.")
@click.option("--returns/--no-returns", default=True, help="Also play episodes, not only KL.")
@click.option("--episodes", default=10, show_default=True, help="Episodes a measurement.")
@click.option("--seed", default=0, show_default=True, help="Of the episodes.")
@click.option("--env", help="Id or package.module:Class, where the policy's isn't enough.")
@click.option("--output", type=Folder(dir_okay=False), help="A CSV file.")
def sensitivity(path: Path, output: Path | None, env: str | None, **how: Any) -> None:
    """Show what each layer's sparsity costs in return and in KL divergence of the actions.

    Of an RLlib PPO algorithm CHECKPOINT, or of a saved POLICY of a results folder.
    """
    from search.runs.sensitivity import sensitivity_frame, sensitivity_of, sensitivity_text
    from search.store.tables import write_csv

    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: {output.parent} is not a folder. Make it, or name another.")
    table = sensitivity_of(path, env, warn, sparsities=how.pop("sparsity"), **how)
    click.echo(sensitivity_text(table))
    if output is not None:
        write_csv(output, sensitivity_frame(table))
        click.echo(f"table: {output}")
