"""`prunefront keys`."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from search.config.reference import Key

# Longer lines don't read well, however wide the terminal is.
WIDEST = 100
INDENT = " " * 4


@click.command()
@click.argument("words", nargs=-1, metavar="[WORD]...")
def keys(words: tuple[str, ...]) -> None:
    """List the keys that a configuration can have.

    Of each its path, as an override names it, its kind, its default and its meaning. With WORDs those
    whose path or meaning contains all of them. KEY[].NAME is a key of each item of a list, which an
    override gives as a whole: 'KEY=[{NAME: VALUE}]'.
    """
    from search.config.reference import find

    width = min(shutil.get_terminal_size().columns, WIDEST)
    click.echo("\n".join(_shown(key, width) for key in find(words)))


def _shown(key: Key, width: int) -> str:
    head = f"{key.path}  {key.kind}  [{key.default}]" if key.kind else key.path
    meaning = textwrap.fill(
        key.meaning,
        width,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{head}\n{meaning}"
