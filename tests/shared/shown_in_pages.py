"""What README.md and docs/ show to be typed, so that a script can be held to it."""

import re
from collections.abc import Iterable
from functools import cache

import click
from page_blocks import PAGES, Block, blocks_of, commands_of

from search.cli.main import cli

_SPAN = re.compile(r"`([^`\n]+)`")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r"([a-z][\w.]*)=")
# Of usage: brackets round what may be left out, an ellipsis for more, a table's alternatives.
_USAGE = str.maketrans("", "", "[]…\\")
# A part of a command that is any setting of a configuration.
SETTING = "key=value"


def unshown(command: str, pages: Iterable = tuple(PAGES)) -> list[str]:
    """What of a command no page shows; empty where all is.

    A command of prunefront is made of a verb, options, values that an option chooses from and settings
    of a configuration: each must stand in a command of that verb. Files and numbers are the reader's
    own. All other commands must be shown as they are.
    """
    shown, code = _shown(tuple(pages))
    if not command.startswith("prunefront "):
        return [] if command in shown else [command]
    verb, parts = _parts(command)
    same = [parts for other, parts in map(_parts, shown) if other == verb]
    if not same:
        return [f"prunefront {verb}"]
    missing = parts - set().union(*same)
    takes_settings = any(SETTING in known for known in same)
    return sorted(p for p in missing if not (takes_settings and p in code))


def block_with(text: str, language: str = "python") -> Block:
    """The first block of a language, on any page, that holds a text."""
    found = [b for b in _blocks(tuple(PAGES)) if b.language == language and text in b.text]
    assert found, f"{text!r}, which a newcomer looks for, stands in no {language} block"
    return found[0]


def line_with(text: str, language: str) -> str:
    """The first line of any block of a language that holds a text, without its comment."""
    found = [
        line.partition("#")[0].rstrip()
        for block in _blocks(tuple(PAGES))
        if block.language == language
        for line in block.text.splitlines()
        if text in line
    ]
    assert found, f"{text!r}, which a newcomer looks for, stands in no {language} block"
    return found[0]


@cache
def _blocks(pages):
    return [block for page in pages for block in blocks_of(page)]


@cache
def _shown(pages):
    """Every command, and the names of all settings that stand in code."""
    commands, names = set(), set()
    for block in _blocks(pages):
        names |= set(_SETTING.findall(block.text))
        if block.language == "sh":
            commands |= {line.partition(" #")[0].strip() for line in commands_of(block.text)}
    for page in pages:
        for span in _SPAN.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
            names |= {span, *_SETTING.findall(span)}
            commands.add(span)
    return frozenset(c for c in commands if " " in c or c.startswith("./")), frozenset(names)


def _parts(command):
    """The verb, and all that it is combined with but the reader's own names and numbers."""
    words = command.translate(_USAGE).split()
    if words[:1] != ["prunefront"] or words[1:2] == [] or words[1] not in cli.commands:
        return "", set()
    options = {
        name: option
        for option in cli.commands[words[1]].params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    parts, rest = set(), iter(words[2:])
    for word in rest:
        if option := options.get(word):
            parts.add(word)
            value = "" if option.is_flag else next(rest, "")
            if isinstance(option.type, click.Choice):
                parts |= {f"{word} {one}" for one in value.split("|")}
        elif word.startswith("--"):
            parts.add(word)
        elif found := _SETTING.match(word):
            parts |= {SETTING, found[1]}
    return words[1], parts
