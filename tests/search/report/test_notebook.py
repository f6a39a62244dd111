"""The notebook that comes with the project runs on the example beside it, and shows what came of it."""

import base64
import json
from pathlib import Path

import pytest

import search

NOTEBOOK = Path(__file__).parents[3] / "results" / "example.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def notebook():
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert found["nbformat"] == 4
    return found


def cells(notebook, kind):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def shown(notebook):
    """What each cell of code showed, by kind."""
    return [
        {kind: "".join(data) for output in cell["outputs"] for kind, data in output["data"].items()}
        for cell in cells(notebook, "code")
    ]


def test_every_cell_of_the_notebook_runs(notebook, monkeypatch):
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    for cell in cells(notebook, "code"):
        exec(compile(source(cell), str(NOTEBOOK), "exec"), names)
    assert len(names["results"].front)


def test_it_is_read_without_running_it(notebook):
    assert source(cells(notebook, "markdown")[0]).startswith("# ")
    for cell, outputs in zip(cells(notebook, "code"), shown(notebook), strict=True):
        assert outputs, f"{source(cell)}: execute the notebook, as results/README.md says"
        if "_chart(" in source(cell):
            assert base64.b64decode(outputs["image/png"]).startswith(PNG)
    assert NOTEBOOK.stat().st_size < 1_000_000


def test_what_it_shows_is_the_example_s(notebook):
    front = search.load(NOTEBOOK.parent / "example").front
    summary, *others = (outputs.get("text/html", "") for outputs in shown(notebook))
    for policy in front["snapshot_id"]:
        assert policy in summary
        assert any(policy in html for html in others)


def test_it_says_nothing_of_the_machine_that_ran_it(notebook):
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert not any(cell["metadata"] for cell in notebook["cells"])
