"""The `prunefront` command.

Exit status: 0 done; 1 the run failed; 2 what was asked for is wrong; 130 interrupted. A mistake gets
one message and no traceback. Ray is only loaded by the verbs that need it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from rllib_ext.pruning.config import Criterion
from rllib_ext.pruning.errors import (
    CheckpointError,
    ConfigError,
    PrunefrontError,
    ResultsError,
    RunError,
)

FAILED, WRONG, INTERRUPTED = 1, 2, 130
CRITERIA = "One of " + ", ".join(get_args(Criterion)) + "."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prunefront")
def cli() -> None:
    """Finds the reward–sparsity Pareto front of a PPO policy."""


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", type=click.Path(path_type=Path), help="Results folder; new or empty.")
@click.option("--address", help="Address of a Ray cluster. Default: one on this machine.")
@click.option("--dry-run", is_flag=True, help="Only check the configuration, as `check` does.")
def search(
    config: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    address: str | None,
    dry_run: bool,
) -> None:
    """Run the search that CONFIG describes, to its report."""
    from search.config_file import load_config

    experiment = load_config(config, overrides)
    if dry_run:
        _check(experiment)
        return
    from search.display import SearchDisplay
    from search.experiment import run_search
    from search.folder import new_folder

    folder = new_folder(experiment.name, output)
    try:
        with _saying_what_is_safe(folder), SearchDisplay() as display:
            page = run_search(
                experiment,
                folder,
                command=["prunefront", *sys.argv[1:]],
                display=display,
                address=address,
            )
    except PrunefrontError:
        if not any((folder / name).exists() for name in ("config.yaml", "snapshots.jsonl")):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    _summarise(folder, page)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[budget.env_steps=N]")
@click.option("--address", help="Address of a Ray cluster. Default: one on this machine.")
def resume(folder: Path, overrides: tuple[str, ...], address: str | None) -> None:
    """Go on with the search of the results FOLDER, to its report.

    After a crash or ctrl-C it goes on where the search was, losing at most a segment a member. A
    larger budget.env_steps extends it, finished or not; the horizon and all else stay what they were.
    Runs code from the folder's checkpoints: resume only what you trust.
    """
    from search.config_file import extended, load_config_of

    extended(load_config_of(folder), overrides)
    from search.display import SearchDisplay
    from search.experiment import resume_search

    folder = folder.resolve()
    with _saying_what_is_safe(folder), SearchDisplay() as display:
        page = resume_search(
            folder,
            overrides,
            command=["prunefront", *sys.argv[1:]],
            display=display,
            address=address,
        )
    _summarise(folder, page)


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where a comparison goes. Default: the first folder.",
)
def report(folders: tuple[Path, ...], output: Path | None) -> None:
    """Rebuild the report of a results folder from what is on disk, without Ray.

    Several FOLDERS are compared: their fronts, hypervolumes and what repeats attain, on one page.
    """
    if len(folders) > 1:
        from search.report.write import write_comparison

        page, lines = write_comparison(folders, output or folders[0])
        click.echo(lines)
        click.echo(f"comparison: {page}")
        return
    if output:
        raise click.UsageError(
            "--output is for a comparison of several folders; the report of one stands in it."
        )
    from search.report import write_report

    _summarise(folders[0], write_report(folders[0]))


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Validate CONFIG and say what it would run."""
    from search.config_file import load_config

    _check(load_config(config, overrides))


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
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
@click.option("--output", type=click.Path(path_type=Path), help="Results folder; new or empty.")
def prune(checkpoint: Path, output: Path | None, env: str | None, **how: Any) -> None:
    """Prune the RLlib PPO algorithm CHECKPOINT at several levels: no search.

    Without --sparsity and --threshold at 0.5, 0.75, 0.9, 0.95 and 0.98. With --retrain masks are held;
    --sparsity 0 then shows what the same training does to the network as it is. The criteria gradient,
    movement and activation are gathered in training (--gather) that is thrown away afterwards.
    """
    from search.folder import free_folder
    from search.levels import levels_table, settings_from

    settings = settings_from(checkpoint, **how)
    free_folder(settings.name, output)
    from search.display import SearchDisplay
    from search.opening import local_ray, open_checkpoint
    from search.prune import run_prune
    from search.results import load

    ppo = open_checkpoint(checkpoint, env, _warn)
    with local_ray(), SearchDisplay() as display:
        folder = run_prune(
            settings,
            ppo,
            output,
            command=["prunefront", *sys.argv[1:]],
            phase=display.phase,
        )
    click.echo(levels_table(load(folder)))
    click.echo(f"results: {folder}\nreport: {folder / 'report.html'}")


@cli.command()
@click.argument("path", metavar="CHECKPOINT|POLICY", type=click.Path(path_type=Path))
@click.option("--sparsity", type=float, multiple=True, help="Of each layer, above 0; repeatable.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Layers to leave; repeatable.")
@click.option("--returns/--no-returns", default=True, help="Also play episodes, not only KL.")
@click.option("--episodes", default=10, show_default=True, help="Episodes a measurement.")
@click.option("--seed", default=0, show_default=True, help="Of the episodes.")
@click.option("--env", help="Id or package.module:Class, where the policy's isn't enough.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A CSV file.")
def sensitivity(path: Path, output: Path | None, env: str | None, **how: Any) -> None:
    """Show what each layer's sparsity costs in return and in KL divergence of the actions.

    Of an RLlib PPO algorithm CHECKPOINT, or of a saved POLICY of a results folder.
    """
    from search.sensitivity import sensitivity_frame, sensitivity_of, sensitivity_text
    from search.tables import write_csv

    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: {output.parent} is not a folder. Make it, or name another.")
    table = sensitivity_of(path, env, _warn, sparsities=how.pop("sparsity"), **how)
    click.echo(sensitivity_text(table))
    if output is not None:
        write_csv(output, sensitivity_frame(table))
        click.echo(f"table: {output}")


def _warn(text: str) -> None:
    click.echo(text, err=True)


def _check(experiment: Any) -> None:
    from search.estimate import describe_plan

    click.echo(describe_plan(experiment))


def _summarise(folder: Path, page: Path) -> None:
    from search.report.terminal import summary
    from search.results import load

    click.echo(summary(load(folder)))
    click.echo(f"report: {page}")


@contextlib.contextmanager
def _saying_what_is_safe(folder: Path) -> Iterator[None]:
    """Where a run is cut short, says what is on disk and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"interrupted: {_what_is_safe(folder)}", err=True)
        raise
    except (RunError, OSError) as error:
        raise RunError(f"{error}\n{_what_is_safe(folder)}") from error


def _what_is_safe(folder: Path) -> str:
    from search.archive import read_lines

    count = sum(1 for _ in read_lines(folder / "snapshots.jsonl"))
    go_on = f"prunefront resume {folder}   goes on"
    if not count:
        return f"no snapshot was made; {folder} holds no results\n{go_on}"
    return (
        f"{count} snapshots are safe in {folder}\n{go_on}\n"
        f"prunefront report {folder}   makes a report of what is there"
    )


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A job that is told to end leaves as readable a folder as one that is interrupted."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    try:
        with _sigterm_interrupts():
            cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except (CheckpointError, ConfigError, ResultsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(WRONG)
    except PrunefrontError as error:
        click.echo(f"failed: {error}", err=True)
        sys.exit(FAILED)
