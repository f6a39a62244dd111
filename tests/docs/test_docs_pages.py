"""The pages of docs/: all in the navigation, no dead link, and no block that nobody looks at."""

import ast
import re
import tomllib

import pytest
from page_blocks import PAGES, ROOT, blocks_of, commands_of, never_run, unknown

import prunefront
import rllib_ext
import rllib_ext.export
import search
from docs.generate.charts import PICTURES
from docs.generate.pages import DOCS, page
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config, parse_yaml

NAMES = sorted(path.name for path in DOCS.glob("*.md"))
SITE = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
# What a configuration must have, where a page shows only a part of one.
LEAST = {
    "name": "shown",
    "env": "CartPole-v1",
    "budget": {"env_steps": 1_000_000},
    "search": {"space": {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-3}}},
}
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def pages():
    return {name: page((DOCS / name).read_text()) for name in NAMES}


def in_nav(part):
    if isinstance(part, str):
        return [part]
    return [
        name
        for below in (part.values() if isinstance(part, dict) else part)
        for name in in_nav(below)
    ]


def anchors(text):
    """As Python-Markdown names headings."""
    found = [
        found[2]
        for found in _HEADING.finditer(re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S))
    ]
    plain = [re.sub(r"[`*]", "", heading) for heading in found]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", name).strip().lower()) for name in plain}


def dead_links(pages):
    dead = []
    for name, text in pages.items():
        for target in _LINK.findall(_CODE.sub("", text)):
            if target.startswith(("http://", "https://")):
                continue
            file, _, anchor = target.partition("#")
            where = file or name
            if file.startswith("images/"):
                if file.removeprefix("images/") not in PICTURES:
                    dead.append(f"{name}: {target}")
            elif where not in pages or (anchor and anchor not in anchors(pages[where])):
                dead.append(f"{name}: {target}")
    return dead


def test_every_page_is_in_the_navigation_once():
    assert sorted(in_nav(SITE["nav"])) == NAMES


def test_no_link_is_dead(pages):
    assert dead_links(pages) == []


@pytest.mark.parametrize(
    "link", ["(gone.md)", "(install.md#gone)", "(#gone)", "(images/gone.png)", "(../README.md)"]
)
def test_a_dead_link_is_found(pages, link):
    assert dead_links({**pages, "limits.md": f"See [that]{link}."}) != []


def test_pages_say_what_the_code_says(pages):
    assert "search.space.PATH.scale" in pages["configuration.md"]
    assert "## prunefront export" in pages["command_line.md"]
    assert "--resume-or-start" in pages["command_line.md"]
    assert "<!--" not in "".join(text for name, text in pages.items() if name != "changelog.md")


def test_formulas_need_no_script(pages):
    assert pages["why_it_works.md"].count("<math") > 20
    assert "$$" not in pages["why_it_works.md"]


def test_the_python_api_is_all_that_is_exported():
    shown = re.findall(r"^::: (\S+)$", (DOCS / "python_api.md").read_text(), re.MULTILINE)
    exported = {
        f"{package.__name__}.{name}"
        for package in (rllib_ext, rllib_ext.export, search)
        for name in package.__all__
    }
    # What `run` and `load` return is Results with charts; `prunefront` has the rest by its own name.
    more = {"search.report.notebook.ShownResults", "rllib_ext.pruning.errors.PrunefrontError"}
    assert set(shown) == exported | more
    assert {name.rpartition(".")[2] for name in shown} >= set(prunefront.__all__)


def test_nothing_is_fetched_from_elsewhere():
    assert SITE["theme"]["font"] is False
    places = [*SITE["extra_css"], *(script["path"] for script in SITE["extra"]["polyfills"])]
    assert places
    assert not [place for place in places if re.search(r"https?:", (DOCS / place).read_text())]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_run_or_has_a_reason_not_to_be(path):
    assert {str(block): unknown(block) for block in blocks_of(path) if unknown(block)} == {}


@pytest.mark.parametrize(
    "path", [p for p in PAGES if p.name != "README.md"], ids=lambda path: path.name
)
def test_every_reason_is_said_once(path):
    """A block that is marked although each of its commands is listed hides what is added to it."""
    for block in blocks_of(path):
        if block.never and block.language == "sh":
            assert not all(map(never_run, commands_of(block.text))), block


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_part_of_a_configuration_is_one(path):
    for block in blocks_of(path):
        if block.language == "yaml":
            shown = parse_yaml(block.text, str(block))
            assert isinstance(parse_config({**LEAST, **shown}, str(block)), ExperimentConfig)


def test_a_setting_that_is_not_known_is_found():
    with pytest.raises(ConfigError, match="fouders"):
        parse_config({**LEAST, "search": {**LEAST["search"], "fouders": 0.5}}, "shown")


def sayings():
    """All texts of the packages' code, what is filled in as an ellipsis."""
    found = []
    for path in (
        *ROOT.glob("search/**/*.py"),
        *ROOT.glob("rllib_ext/**/*.py"),
        *ROOT.glob("prunefront/*.py"),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_messages_that_are_explained_exist():
    told = sayings()
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    # Quoted values and keys are examples; "Input should be" is pydantic's.
    pieces = [(row, piece) for row in rows for piece in re.split(r"…|'[^']*'|Input should be", row)]
    gone = [
        row
        for row, piece in pieces
        if len(piece) > 8 and piece.strip(" ,.:").removeprefix("but ") not in told
    ]
    assert dict.fromkeys(gone) == {}


def test_blocks_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "shown.md"
    path.write_text(
        "<!-- not run: no cluster -->\n\n```sh\nprunefront check smoke\n```\n\n"
        '```python title="envs.py"\nx = "a"\n```\n\n'
        "<!-- not run: it takes days -->\n```sh\nprunefront search ant\n```\n"
        "- a list\n\n    ```\n    make search\n    ```\n\n```\nmade: 3 files\n```\n"
        "<!-- run in: results/smoke-… -->\n```python\nprint(unheard_of)\n```\n```sh\nrm -r .\n```\n"
    )
    found = blocks_of(path)
    assert [b.language for b in found] == ["sh", "python", "sh", "sh", "text", "python", "sh"]
    assert [b.never for b in found] == ["", "", "it takes days", "", "", "", ""]
    assert [b.line for b in found] == [3, 7, 12, 17, 21, 25, 28]
    assert (found[1].title, found[1].text) == ("envs.py", 'x = "a"\n')
    assert found[3].text == "make search\n"
    assert found[5].place == "results/smoke-…"
    assert [unknown(b) for b in found] == [[], [], [], [], [], ["unheard_of"], ["rm -r ."]]
