"""The `prunefront` command.

Exit status: 0 done; 1 the run failed; 2 what was asked for is wrong; 130 interrupted. A mistake gets
one message and no traceback. Ray is only loaded by the verbs that need it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from rllib_ext.pruning.errors import (
    CheckpointError,
    ConfigError,
    PrunefrontError,
    ResultsError,
)
from search.cli.evaluate import evaluate
from search.cli.export import export
from search.cli.init import init
from search.cli.keys import keys
from search.cli.output import FAILED, WRONG
from search.cli.prune import prune, sensitivity
from search.cli.report import report
from search.cli.retrain import retrain
from search.cli.schema import schema
from search.cli.search import check, resume, search
from search.cli.submit import submit
from search.cluster.failure import is_disk_full

INTERRUPTED = 130
# Seconds within which a process is told to end once, however often it is told.
ONCE = 2.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prunefront")
def cli() -> None:
    """Finds the reward–sparsity Pareto front of a PPO policy."""


for verb in (
    search, resume, submit, report, evaluate, export, retrain, check, init, keys, schema, prune,
    sensitivity,
):  # fmt: skip
    cli.add_command(verb)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A job that is told to end leaves as readable a folder as one that is interrupted."""
    told = -math.inf

    def interrupt(number: int, frame: Any) -> None:
        nonlocal told
        # Ray's C++ part is told first while it starts, and would abort the process three seconds later.
        signal.alarm(0)
        # `timeout` tells the process, then its group: the second must not cut off what the first began.
        if time.monotonic() - told >= ONCE:
            told = time.monotonic()
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
    except BrokenPipeError:
        # Whoever read the output has had enough; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        hint = " Free some space, then try again." if is_disk_full(error) else ""
        click.echo(f"failed: {error}.{hint}", err=True)
        sys.exit(FAILED)
