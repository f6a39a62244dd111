"""`prunefront search`, `resume` and `check`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import click

from search.cli.output import LOADING, Output, output_options
from search.cli.shared import Folder, load_experiment, saying_what_is_safe, what_is_safe


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", type=Folder(), help="Results folder; new or empty.")
@click.option("--address", help="Address of a Ray cluster. Default: one on this machine.")
@click.option(
    "--resume-or-start",
    is_flag=True,
    help="Go on where the same search has begun in --output; what a job that may be retried needs.",
)
@click.option("--dry-run", is_flag=True, help="Only check the configuration, as `check` does.")
@output_options
def search(
    config: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    address: str | None,
    resume_or_start: bool,
    dry_run: bool,
    output_to: Output,
) -> None:
    """Run the search that CONFIG describes, to its report.

    With --resume-or-start an empty or missing --output is begun in, the same search that lies there goes
    on, one that has finished says so, and another one is refused.
    """
    if resume_or_start and output is None:
        raise click.UsageError("--resume-or-start needs --output: the folder to look in.")
    experiment = load_experiment(config, overrides)
    if dry_run:
        _check(experiment)
        return
    from search.store.folder import place_of, refuse_taken

    folder = place_of(experiment.name, output)
    if not resume_or_start:
        refuse_taken(folder)
    elif _finished_before(experiment, folder, output_to):
        return
    safe = functools.partial(what_is_safe, folder, address)
    with (
        saying_what_is_safe(folder, safe, output_to.interrupted),
        output_to.display() as display,
    ):
        display.phase(LOADING)
        from search.runs.search import run_search

        results = run_search(
            experiment,
            folder,
            command=["prunefront", *sys.argv[1:]],
            display=display,
            address=address,
            or_resume=resume_or_start,
        )
    output_to.conclude(results)


@click.command()
@click.argument("folder", type=Folder())
@click.argument("overrides", nargs=-1, metavar="[budget.env_steps=N] [budget.seconds=S]")
@click.option("--address", help="Address of a Ray cluster. Default: one on this machine.")
@output_options
def resume(
    folder: Path, overrides: tuple[str, ...], address: str | None, output_to: Output
) -> None:
    """Go on with the search of the results FOLDER, to its report.

    After a crash or ctrl-C it goes on where the search was, losing at most a segment a member and,
    where it had not ended, the training of the dense baseline. A larger budget.env_steps or
    budget.seconds extends it, finished or not; the horizon and all else stay what they were.
    Runs code from the folder's checkpoints: resume only what you trust.
    """
    from search.store.continued import extended, load_config_of

    config = extended(load_config_of(folder), overrides)
    folder = folder.resolve()
    if _told_to_be_finished(config, folder, output_to):
        return
    safe = functools.partial(what_is_safe, folder, address)
    with (
        saying_what_is_safe(folder, safe, output_to.interrupted),
        output_to.display() as display,
    ):
        display.phase(LOADING)
        from search.runs.search import resume_search

        results = resume_search(
            folder,
            overrides,
            command=["prunefront", *sys.argv[1:]],
            display=display,
            address=address,
        )
    output_to.conclude(results)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Validate CONFIG and say what it would run."""
    _check(load_experiment(config, overrides))


def _finished_before(experiment: Any, folder: Path, output_to: Output) -> bool:
    """Whether a folder holds the same search, finished; if so, says that."""
    from search.runs.standing import as_begun, standing_of

    begun = as_begun(experiment, folder)
    return standing_of(begun, folder) == "finished" and _told_to_be_finished(
        begun, folder, output_to
    )


def _told_to_be_finished(experiment: Any, folder: Path, output_to: Output) -> bool:
    """Whether a search is finished; if so, says that, before heavy modules are loaded."""
    from search.runs.standing import finished_results, how_to_extend

    results = finished_results(experiment, folder)
    if results is None:
        return False
    output_to.say(how_to_extend(experiment, folder))
    output_to.conclude(results)
    return True


def _check(experiment: Any) -> None:
    from search.runs.check import describe_plan

    click.echo(describe_plan(experiment))
