"""The notebook that comes with the project runs on the example beside it."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[3] / "results" / "example.ipynb"


def sources(kind):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def test_every_cell_of_the_notebook_runs(monkeypatch):
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    for source in sources("code"):
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    assert len(names["results"].front)


def test_the_notebook_holds_no_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(c["outputs"] == [] for c in notebook["cells"] if c["cell_type"] == "code")
    assert sources("markdown")[0].startswith("# ")
