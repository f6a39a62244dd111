"""Options, arguments and messages shared by the verbs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_ext.pruning.errors import ConfigError, RunError
from search.cluster.failure import is_disk_full
from search.store.folder import refuse_address

if TYPE_CHECKING:
    from search.config.experiment import ExperimentConfig
    from search.front.results import Results


class Folder(click.Path):
    """A folder on this machine, as a command's argument or option."""

    def __init__(self, **how: Any) -> None:
        super().__init__(path_type=Path, **how)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Converts to a path, and refuses addresses, which a path would turn into folders.

        Raises:
            ConfigError: The value is an address.
        """
        named = param.opts[0] if isinstance(param, click.Option) else "the folder"
        refuse_address(str(value), named)
        return super().convert(value, param, ctx)


def load_experiment(config: Path, overrides: Iterable[str]) -> ExperimentConfig:
    """Reads an experiment; warns where running it, or checking it, runs code from a checkpoint."""
    from search.config.loading import load_config

    experiment = load_config(config, overrides)
    if experiment.init_checkpoint is not None:
        from search.runs.inputs import RUNS_CODE

        warn(RUNS_CODE.format(path=experiment.init_checkpoint))
    return experiment


def named_values(texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Parses the arguments of --set: names, and values in YAML.

    Raises:
        ConfigError: One of them is not NAME=VALUE, or names what another one does.
    """
    from search.config.loading import parse_yaml

    seen: set[str] = set()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {text!r}: expected NAME=VALUE, such as gravity=15.")
        if name in seen:
            raise ConfigError(f"--set {text!r}: {name} is given twice. Expected each name once.")
        seen.add(name)
        yield name, parse_yaml(value, f"the value of --set {text!r}")


def warn(text: str) -> None:
    """Shows a warning beside the output."""
    click.echo(text, err=True)


def summarise(results: Results) -> None:
    """Shows a search's outcome and where its report is."""
    from search.report.terminal import summary

    click.echo(summary(results))
    click.echo(f"report: {results.page}")


@contextlib.contextmanager
def saying_what_is_safe(
    folder: Path, what: Callable[[], str], interrupted: Callable[[str], None]
) -> Iterator[None]:
    """If a run is cut short, says what is on disk and how to go on.

    Args:
        folder: The results folder.
        what: That, as it is by then.
        interrupted: Tells that of a run that is interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        interrupted(what())
        raise
    except (RunError, OSError) as error:
        text = str(error)
        if is_disk_full(error):
            text = (
                f"no space is left on the disk of {folder}, or of Ray's temporary files ({error}). Free "
                "some, then go on."
            )
        raise RunError(f"{text}\n{what()}") from error


def what_is_safe(folder: Path, address: str | None) -> str:
    """Returns a message: what is on disk of a search that was cut short, and how to go on.

    Args:
        folder: The results folder.
        address: The address of the Ray cluster that it ran on, as it was given.
    """
    from search.store.folder import CONFIG
    from search.store.lines import read_lines

    if not (folder / CONFIG).is_file():
        return "nothing had begun, and nothing was written"
    count = sum(1 for _ in read_lines(folder / "snapshots.jsonl"))
    cluster = f" --address {address}" if address else ""
    go_on = f"prunefront resume {folder}{cluster}   goes on"
    if not count:
        return f"no snapshot was made; {folder} holds no results\n{go_on}"
    return (
        f"{count} snapshots are safe in {folder}\n{go_on}\n"
        f"prunefront report {folder}   makes a report of what is there"
    )
