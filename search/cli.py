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
from typing import Any

import click

from rllib_ext.pruning.errors import ConfigError, PrunefrontError, ResultsError, RunError

FAILED, WRONG, INTERRUPTED = 1, 2, 130


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
        with _what_is_safe(folder), SearchDisplay() as display:
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
    with _what_is_safe(folder), SearchDisplay() as display:
        page = resume_search(
            folder,
            overrides,
            command=["prunefront", *sys.argv[1:]],
            display=display,
            address=address,
        )
    _summarise(folder, page)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Rebuild the report of the results FOLDER from what is on disk, without Ray."""
    from search.report import write_report

    _summarise(folder, write_report(folder))


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Validate CONFIG and say what it would run."""
    from search.config_file import load_config

    _check(load_config(config, overrides))


def _check(experiment: Any) -> None:
    from search.estimate import describe_plan

    click.echo(describe_plan(experiment))


def _summarise(folder: Path, page: Path) -> None:
    from search.report.terminal import summary
    from search.results import load

    click.echo(summary(load(folder)))
    click.echo(f"report: {page}")


@contextlib.contextmanager
def _what_is_safe(folder: Path) -> Iterator[None]:
    """Where a run is cut short, says what is on disk and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        _say_what_is_safe(folder, "interrupted")
        raise
    except (RunError, OSError):
        _say_what_is_safe(folder, "stopped")
        raise


def _say_what_is_safe(folder: Path, what: str) -> None:
    from search.archive import read_lines

    count = sum(1 for _ in read_lines(folder / "snapshots.jsonl"))
    go_on = f"prunefront resume {folder}   goes on\n"
    if not count:
        click.echo(f"{what} before the first snapshot\n{go_on}", nl=False, err=True)
        return
    click.echo(
        f"{what}: {count} snapshots are safe in {folder}\n{go_on}"
        f"prunefront report {folder}   makes a report of what is there",
        err=True,
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
    except (ConfigError, ResultsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(WRONG)
    except PrunefrontError as error:
        click.echo(f"failed: {error}", err=True)
        sys.exit(FAILED)
