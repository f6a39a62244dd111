"""`prunefront schema`."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, which editors complete and check one by.

    `prunefront schema > schema.json` beside a configuration that begins with the line
    "# yaml-language-server: $schema=schema.json" is all that most editors need.
    """
    from search.config import reference

    click.echo(json.dumps(reference.schema(), indent=2, ensure_ascii=False))
