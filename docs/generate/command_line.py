"""The page of the command line, made of what `--help` shows."""

from __future__ import annotations

import inspect

import click

from search.cli.main import cli


def verbs() -> str:
    """A section for each verb: how it is called, what it does, its options."""
    whole = click.Context(cli, info_name="prunefront")
    return "\n\n".join(_section(whole, name) for name in cli.list_commands(whole))


def _section(whole: click.Context, name: str) -> str:
    command = cli.commands[name]
    context = click.Context(command, info_name=name, parent=whole)
    usage = " ".join(["prunefront", name, *command.collect_usage_pieces(context)])
    parts = [f"## prunefront {name}", f"```text\n{usage}\n```", _text(command.help or "")]
    options = [p for p in command.params if isinstance(p, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [f"| `{record[0]}` | {_cell(record[1])} |" for record in records if record is not None]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _text(text: str) -> str:
    return inspect.cleandoc(text).replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
