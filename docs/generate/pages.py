"""The pages of docs/, with what stands elsewhere put where a comment of theirs names it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from docs.generate.charts import write_charts
from docs.generate.command_line import verbs
from docs.generate.configuration import configurations, described_keys
from docs.generate.formulas import with_formulas

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ROOT / "build" / "docs" / "pages"
EXAMPLE = ROOT / "results" / "example"

GENERATED: dict[str, Callable[[], str]] = {
    "configurations": lambda: configurations(ROOT / "configs"),
    "keys": described_keys,
    "verbs": verbs,
}
_NAMED = re.compile(r"^<!-- (generated|file|table): (\S+) -->$", re.MULTILINE)
# What the tests read is nothing for a reader.
_FOR_TESTS = re.compile(r"^<!-- (?:run in|not run): .* -->\n", re.MULTILINE)
_TABLE = re.compile(r"^\|.*(?:\n\|.*)+", re.MULTILINE)


def write_pages(target: Path) -> None:
    """Writes all pages, pictures and styles, and nothing else, into a folder.

    Args:
        target: The folder; what was there before goes.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source in sorted(DOCS.glob("*.md")):
        (target / source.name).write_text(page(source.read_text(encoding="utf-8")))
    shutil.copytree(DOCS / "assets", target / "assets")
    write_charts(EXAMPLE, target / "images")


def page(text: str) -> str:
    """One page as the site shows it.

    Args:
        text: Markdown, in which a comment on a line of its own may name something generated, a file of
            the repository, or the first table of one.
    """
    return with_formulas(_FOR_TESTS.sub("", _NAMED.sub(_put_in_place, text)))


def _put_in_place(named: re.Match[str]) -> str:
    kind, name = named.groups()
    if kind == "generated":
        return GENERATED[name]()
    text = (ROOT / name).read_text(encoding="utf-8").rstrip()
    if kind == "file":
        return text
    found = _TABLE.search(text)
    if found is None:
        raise ValueError(f"{name} holds no table, which a page of docs/ asks for")
    return found[0]
