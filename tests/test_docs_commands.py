"""Every command and every Python block of README.md and docs/ does what its page says, on small budgets.

Pages are read top to bottom, as a reader would: each in a place that looks like a checkout. What is
never run, and why, is said in page_blocks.py or by a comment above the block; test_docs_pages.py looks
that there is nothing else.
"""

import re

import pytest
from page_blocks import PAGES, ROOT, blocks_of
from page_sandbox import Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CHECKPOINT_IS_MADE_IN = ROOT / "docs" / "prune_checkpoint.md"


def passed(run, what):
    assert run.returncode == 0, f"{what}\n{run.stdout}\n{run.stderr}"
    assert "Traceback" not in run.stderr, f"{what}\n{run.stderr}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What pages take as given: a finished search of CartPole, another one, and a checkpoint."""
    place = tmp_path_factory.mktemp("prepared")
    sandbox = Sandbox(place, {})
    passed(sandbox.shell(["source .venv/bin/activate", "prunefront search cartpole"]), "cartpole")
    (found,) = place.glob("results/cartpole-*")
    first = next(b for b in blocks_of(CHECKPOINT_IS_MADE_IN) if b.language == "python")
    passed(sandbox.run(first), first)
    checkpoint = place / "my_checkpoint"
    return {
        "results/cartpole-…": found,
        "results/another": found,
        "my_checkpoint": checkpoint,
        "my_rllib_checkpoint": checkpoint,
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_shows_runs(path, prepared, tmp_path):
    blocks = blocks_of(path)
    sandbox = Sandbox(tmp_path, {} if path == CHECKPOINT_IS_MADE_IN else prepared)
    for block in blocks:
        if (run := sandbox.run(block)) is not None:
            passed(run, f"{block}\n{block.text}")
    if any("make docs" in block.text for block in blocks):
        assert_offline(tmp_path / "build" / "docs" / "site")


def assert_offline(site):
    """A built site loads nothing from elsewhere; where links lead, nobody has to go."""
    pages = [path.read_text() for path in sorted(site.glob("*.html"))]
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)", page)
        links = re.findall(r"<link\b[^>]*>", page)
        loaded += [re.search(r"href=\"([^\"]+)", link)[1] for link in links]
        assert loaded
        assert not [place for place in loaded if re.match(r"(https?:)?//", place)]
