"""A script of what pages show can't type anything else."""

import pytest
from shown_in_pages import block_with, line_with, unshown

PAGE = """
`prunefront search CONFIG [key=value …] [--output DIR]` runs it. `search.strategy` names a strategy.

| `prunefront export DIR --format c\\|numpy [--point ID]` | takes a policy out |

```sh
prunefront init --env my_package.envs:Maze --set size=8 \\
    --output maze.yaml
cc -O2 policy.c -o self_test
```
"""


@pytest.fixture
def pages(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    return [page]


@pytest.mark.parametrize(
    "command",
    [
        "prunefront search mine.yaml search.strategy=random --output results/mine",
        "prunefront export results/mine --format numpy --point knee",
        "prunefront init --env garden:Tank --set leak=0.1 --output tank.yaml",
        "cc -O2 policy.c -o self_test",
    ],
)
def test_what_a_page_shows_is_found_whatever_the_readers_files_are_called(command, pages):
    assert unshown(command, pages) == []


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("prunefront report results/mine", ["prunefront report"]),
        ("prunefront search mine.yaml --quiet", ["--quiet"]),
        ("prunefront search mine.yaml seed=1", ["seed"]),
        ("prunefront export results/mine --format onnx", ["--format onnx"]),
        ("prunefront init --env garden:Tank search.strategy=random", ["key=value", "search.strategy"]),
        ("cc -O3 policy.c -o self_test", ["cc -O3 policy.c -o self_test"]),
    ],
)  # fmt: skip
def test_what_no_page_shows_is_named(command, missing, pages):
    assert unshown(command, pages) == missing


def test_a_text_that_stands_nowhere_is_an_error():
    with pytest.raises(AssertionError, match="stands in no yaml block"):
        line_with("trackers: nowhere", "yaml")
    with pytest.raises(AssertionError, match="stands in no python block"):
        block_with("import nowhere")
