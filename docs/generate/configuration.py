"""The page of the configuration, made of its classes and of the files that come along."""

from __future__ import annotations

import itertools
from pathlib import Path

import yaml

from search.config.reference import Key, keys

_SCHEMA = "# yaml-language-server:"


def described_keys() -> str:
    """All keys, a section for each of the uppermost ones that has others below it."""
    groups = [list(found) for _, found in itertools.groupby(keys(), key=_uppermost)]
    alone = [key for group in groups if len(group) == 1 for key in group]
    parts = ["## One value each", *map(_described, alone)]
    for group in groups:
        if len(group) > 1:
            whole, *others = group
            parts += [f"## {whole.path}", _text(whole.meaning), *map(_described, others)]
    return "\n\n".join(parts)


def _uppermost(key: Key) -> str:
    return key.path.partition(".")[0].partition("[")[0]


def _described(key: Key) -> str:
    if not key.kind:
        return f"**`{key.path}`**\n\n:   {_text(key.meaning)}"
    needed = "**required**" if key.default == "required" else f"default `{key.default}`"
    return f"**`{key.path}`** – {_text(key.kind)}; {needed}\n\n:   {_text(key.meaning)}"


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("^", "\\^")


def configurations(folder: Path) -> str:
    """Every configuration of a folder: a table, then the files to be unfolded."""
    rows, files = [], []
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        rows.append(f"| `{path.stem}` | {yaml.safe_load(text)['env']} | {_first_sentence(text)} |")
        shown = "\n".join(line for line in text.splitlines() if not line.startswith(_SCHEMA))
        block = f"```yaml\n{shown.removeprefix('#').strip()}\n```"
        indented = "\n".join(f"    {line}".rstrip() for line in block.splitlines())
        files.append(f'??? note "{path.name}"\n\n{indented}')
    table = "\n".join(["| name | environment | what |", "|---|---|---|", *rows])
    return "\n\n".join([table, *files])


def _first_sentence(text: str) -> str:
    """Of the comment that a configuration begins with."""
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    told = " ".join(line.lstrip("# ").strip() for line in head if not line.startswith(_SCHEMA))
    return told.partition(". ")[0].strip().removesuffix(".") + "."
