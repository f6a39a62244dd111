"""The output of long verbs: for people, with --quiet less, with --json for scripts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from rllib_ext.pruning.errors import CheckpointError, ConfigError, PrunefrontError, ResultsError
from search.cli.shared import summarise

if TYPE_CHECKING:
    from search.front.results import Results
    from search.runs.display.json_lines import JsonDisplay
    from search.runs.display.opened import Shown

# Exit status: the run failed; what was asked for is wrong.
FAILED, WRONG = 1, 2
# Before the first sign of life of what takes seconds to import.
LOADING = "loading Ray and PyTorch"


class Output:
    """The output of a verb.

    Args:
        quiet: No progress, only what came of it.
        as_json: One JSON object an event on standard output, and nothing else there.

    Attributes:
        quiet: Whether no progress is shown.
        json: Writes events; None where they are not asked for.

    Raises:
        click.UsageError: Both are asked for.
    """

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        if quiet and as_json:
            raise click.UsageError("--quiet and --json exclude each other.")
        self.quiet = quiet
        self.json = _json_display() if as_json else None

    @property
    def flag(self) -> str:
        """Flag that makes a job write in the same way; empty for output for people."""
        return "--json" if self.json is not None else "--quiet" if self.quiet else ""

    def display(self) -> Shown | JsonDisplay:
        """Shows progress, within a `with` block."""
        from search.runs.display.opened import display_for

        return self.json or display_for(quiet=self.quiet)

    def say(self, text: str) -> None:
        """Tells a person something that is not progress."""
        if self.json is None:
            click.echo(text, err=True)
        else:
            self.json.note(text)

    def interrupted(self, text: str) -> None:
        """Tells what is safe of a run that is cut short."""
        click.echo(f"interrupted: {text}", err=True)
        if self.json is not None:
            self.json.emit("interrupted", message=text)

    def tell(self, text: str, event: str, **fields: Any) -> None:
        """Tells what came of a verb: a text for a person, an event of `EVENTS` for scripts."""
        if self.json is None:
            click.echo(text)
        else:
            self.json.emit(event, **fields)

    def conclude(self, results: Results) -> None:
        """Tells what came of a search."""
        if self.json is None:
            summarise(results)
        else:
            from search.report.terminal import outcome

            self.json.emit("finished", **outcome(results))

    @contextlib.contextmanager
    def passed_on(self) -> Iterator[Callable[[str], None]]:
        """Passes on what a job writes, piece by piece; for scripts line by line, each an event."""
        if self.json is None:
            yield lambda text: click.echo(text, nl=False)
            return
        events, rest = self.json, ""

        def write(text: str) -> None:
            nonlocal rest
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                events.pass_on(line)

        try:
            yield write
        finally:
            events.pass_on(rest)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Tells scripts what ended the block; `prunefront` itself tells a person, and ends."""
        try:
            yield
        except (click.ClickException, PrunefrontError, OSError) as error:
            # Whoever read the output has had enough.
            if self.json is not None and not isinstance(error, BrokenPipeError):
                self.json.emit("failed", message=_said(error), status=_status(error))
            raise


def output_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --json to a verb, which takes an `Output` as `output_to`; errors are told."""

    @click.option("--quiet", is_flag=True, help="Show no progress, only what comes of it.")
    @click.option(
        "--json", "as_json", is_flag=True,
        help="One JSON object an event on standard output, for scripts.",
    )  # fmt: skip
    @functools.wraps(verb)
    def wrapped(*given: Any, quiet: bool, as_json: bool, **named: Any) -> Any:
        output = Output(quiet=quiet, as_json=as_json)
        with output.errors():
            return verb(*given, output_to=output, **named)

    return wrapped


def _json_display() -> JsonDisplay:
    from search.runs.display.json_lines import JsonDisplay

    return JsonDisplay()


def _said(error: BaseException) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else str(error)


def _status(error: BaseException) -> int:
    wrong = (click.ClickException, CheckpointError, ConfigError, ResultsError)
    return WRONG if isinstance(error, wrong) else FAILED
