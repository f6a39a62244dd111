import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from plain_charts import plain_charts

import search
from rllib_ext.pruning.errors import ResultsError
from search.report import write_report
from search.report.charts.data import cloud_points
from search.report.provisional import search_front

FILES = (
    "report.html", "report.md", "front.png", "front.svg", "front.csv", "front.parquet",
    "snapshots.csv", "snapshots.parquet", "baselines.csv", "episodes.parquet", "layers.parquet",
)  # fmt: skip
SECTIONS = (
    "front", "before-after", "history", "members", "layers", "hyperparameters", "recipes", "failures",
    "provenance",
)  # fmt: skip
# Names that the chart library carries as text; nothing is ever loaded from them.
NAMESPACES = ("https://vega.github.io/", "http://www.w3.org/", "https://github.com/vega/")
VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask for, and fails where tags don't match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.sources, self.script = [], [], [], ""
        self.unlabelled, self.headings = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if tag in ("figure", "nav") and not values.get("aria-label"):
            self.unlabelled.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def reported(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported") / "cartpole"
    shutil.copytree(finished.folder, folder)
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def html(reported):
    return (reported / "report.html").read_text(encoding="utf-8")


def test_every_file_of_the_contract_is_there_and_nothing_half_written(reported):
    assert all((reported / name).stat().st_size for name in FILES)
    assert not [path.name for path in reported.iterdir() if ".part" in path.name]
    assert (reported / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (reported / "front.svg").read_text().startswith("<svg")


def test_the_page_is_well_formed_with_every_section_once(html):
    page = Page(html)
    for section in SECTIONS:
        assert page.ids.count(section) == 1
    assert len(page.ids) == len(set(page.ids))
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1
    assert not page.unlabelled


def test_without_a_recipe_check_the_page_says_how_to_make_one(reported, html):
    assert "prunefront retrain cartpole" in html
    assert "Recipe check" not in (reported / "report.md").read_text(encoding="utf-8")
    assert not (reported / "retrain.csv").exists()


def test_the_folder_that_one_stands_in_is_called_by_its_name(reported, tmp_path, monkeypatch):
    folder = shutil.copytree(reported, tmp_path / "cartpole")
    monkeypatch.chdir(folder)
    with plain_charts():
        text = write_report(Path()).read_text(encoding="utf-8")
    assert "<code>prunefront retrain cartpole</code>" in text


def test_the_page_loads_nothing_from_outside(html):
    page = Page(html)
    assert [s for s in page.sources if not s.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in html
    addresses = set(re.findall(r"https?://[^\s\"'<>)\\`]+", html))
    assert {a for a in addresses if not a.startswith(NAMESPACES)} == set()
    style = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    assert "@import" not in style
    assert "url(" not in style


def test_every_chart_has_its_place_and_data(html):
    places = set(re.findall(r'data-chart="(\w+)"', html))
    specs = dict(
        re.findall(r'<script type="application/json" id="spec-(\w+)">(.*?)</script>', html, re.S)
    )
    assert places == specs.keys()
    assert len(places) == 12
    data = re.search(r'<script type="application/json" id="datasets">(.*?)</script>', html, re.S)
    tables = json.loads(data[1])
    for text in specs.values():
        spec = json.loads(text)
        assert spec["description"]
        assert all(tables[name] for name in spec["datasets"])
        assert spec["width"] == "container"


def test_what_a_run_recorded_cannot_become_markup(tmp_path, simulate):
    evil = "</script><script>alert(1)</script>|`x`[a](http://b)"
    world = simulate(tmp_path / "a", members=4, segments=3, name=evil)
    events = world.folder / "events.jsonl"
    events.write_text(json.dumps({"event": "failure", "member": 1, "message": evil}) + "\n")
    text = write_report(world.folder).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert Page(text)
    markdown = (world.folder / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert not re.search(r"(?<!\\)\[a\]", markdown)


def test_markdown_holds_verdict_picture_and_a_row_a_point(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    table = pd.read_csv(reported / "front.csv")
    assert text.startswith("# cartpole: reward–sparsity front\n\n**")
    assert "](front.png)" in text
    cheapest = table[table["keeps_95"]].iloc[0]
    assert f"{int(cheapest['nonzero_params'])} of 4,480 weights" in text.splitlines()[2]
    for name in table["snapshot_id"]:
        assert f"| {name} |" in text
    assert "dense (before)" in text
    assert "prunefront search configs/cartpole.yaml seed=1" in text
    assert "env: CartPole-v1  # <b>verbatim</b>" in text
    assert "the environment \\| process &lt;died>" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in lines)


def test_the_same_folder_gives_the_same_report(reported):
    before = {name: (reported / name).read_bytes() for name in FILES}
    write_report(reported)
    changed = [
        name for name, content in before.items() if (reported / name).read_bytes() != content
    ]
    assert changed == []


def test_tables_on_disk_are_those_in_memory(reported):
    results = search.load(reported)
    for stem in ("front", "snapshots"):
        csv = pd.read_csv(reported / f"{stem}.csv", keep_default_na=False, na_values=[""])
        parquet = pd.read_parquet(reported / f"{stem}.parquet")
        table = getattr(results, stem)
        assert list(csv.columns) == list(parquet.columns) == list(table.columns)
        assert len(csv) == len(parquet) == len(table)
        assert parquet["sparsity"].tolist() == table["sparsity"].tolist()
    episodes = pd.read_parquet(reported / "episodes.parquet")
    assert list(episodes.columns) == ["snapshot_id", "purpose", "seed", "return", "length"]
    assert set(episodes["purpose"]) == {"search", "selection", "report"}


@pytest.mark.e2e
def test_a_report_loads_neither_ray_nor_torch(tmp_path, simulate):
    folder = simulate(tmp_path / "a", members=4, segments=3).folder
    code = (
        "import sys, pathlib; from search.report import write_report;"
        f"write_report(pathlib.Path({str(folder)!r}));"
        "print(sorted({'ray', 'torch', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_selection_figures_are_called_so(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=("selection",), members=4, segments=3)
    text = write_report(world.folder).read_text(encoding="utf-8")
    assert "report episodes are missing" in text
    assert "selection score with 95 % interval" in (world.folder / "front.svg").read_text()


def test_a_folder_with_the_archive_alone_is_reported(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=3)
    for name in ("manifest.json", "config.yaml", "baselines.jsonl", "events.jsonl"):
        (world.folder / name).unlink()
    shutil.rmtree(world.folder / "policies")
    evaluations = world.folder / "evaluations.jsonl"
    lines = evaluations.read_text().splitlines(keepends=True)
    evaluations.write_text("".join(line for line in lines if '"snapshot_id": "m' in line))
    text = write_report(world.folder).read_text(encoding="utf-8")
    assert "not recorded" in text
    assert "retained is unknown" in text
    assert Page(text)


def test_without_fresh_episodes_the_search_is_reported_and_the_missing_front_named(
    tmp_path, simulate
):
    world = simulate(tmp_path / "a", purposes=(), members=4, segments=2)
    text = write_report(world.folder).read_text(encoding="utf-8")
    assert "No front yet" in text
    results = search.load(world.folder)
    scores = {(s.return_mean, s.sparsity) for s in world.snapshots if s.status == "ok"}
    best = {a for a in scores if not any(b != a and b[0] >= a[0] and b[1] >= a[1] for b in scores)}
    assert {(s.return_mean, s.sparsity) for s in search_front(results)} == best
    for name in ("front.svg", "report.html", "report.md"):
        assert "re-evaluated" in (world.folder / name).read_text(encoding="utf-8")
    assert "search front, not re-evaluated: optimistic" in (world.folder / "front.svg").read_text()
    assert "Bars are 95 %" not in text
    assert "prunefront resume" in text
    assert Page(text)
    assert len(pd.read_csv(world.folder / "front.csv")) == 0
    assert len(pd.read_csv(world.folder / "snapshots.csv")) == len(world.snapshots)
    with pytest.raises(ResultsError, match="prunefront resume"):
        search.load(world.folder).front  # noqa: B018


def test_a_folder_without_snapshots_gets_one_clear_error_and_no_page(tmp_path):
    (tmp_path / "config.yaml").write_text("name: x\n")
    with pytest.raises(ResultsError, match="nothing to report yet"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_long_search_keeps_its_re_evaluated_points_and_says_that_others_are_not_drawn(
    tmp_path, simulate
):
    world = simulate(tmp_path / "a", members=20, segments=10, per_segment=10, fresh=10)
    results = search.load(world.folder)
    cloud, everything = cloud_points(results)
    assert everything == 2000
    assert len(cloud) < 1600
    assert set(results.confirmed.candidates["snapshot_id"]) <= set(cloud["snapshot_id"])
    with plain_charts():
        text = write_report(world.folder).read_text(encoding="utf-8")
    assert f"Of 2,000 search scores {len(cloud):,} are drawn" in " ".join(text.split())


def test_a_search_of_failures_alone_is_reported(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=(), members=2, segments=1)
    path = world.folder / "snapshots.jsonl"
    lines = [json.loads(line) | {"status": "failed"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = write_report(world.folder).read_text(encoding="utf-8")
    assert 'data-chart="parallel"' not in text
    assert "Not enough segments in which hyperparameters varied" in text
    assert Page(text)
