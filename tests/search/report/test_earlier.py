"""A folder that has lost something says so, and keeps the report that was made from all of it."""

import json
import shutil

import pytest
from plain_charts import plain_charts

import search
from rllib_ext.pruning.errors import ResultsError
from search.report import write_report
from search.report.earlier import REPORT
from search.report.notebook import load
from search.report.terminal import summary
from search.report.write import write_comparison
from search.store.writer import only_writer


@pytest.fixture(scope="module", autouse=True)
def _plain_charts():
    """What becomes of a report's files doesn't depend on what is drawn in them."""
    with plain_charts():
        yield


@pytest.fixture(scope="module")
def reported(tmp_path_factory, simulate):
    """A finished search and its report; its manifest notes what its files hold."""
    world = simulate(tmp_path_factory.mktemp("reported") / "cartpole", members=4, fresh=20)
    with only_writer(world.folder):
        write_report(world.folder)
    return world.folder


@pytest.fixture
def folder(reported, tmp_path):
    return shutil.copytree(reported, tmp_path / "cartpole")


def without_notes(folder):
    """As an earlier version wrote it."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    del values["records"]
    path.write_text(json.dumps(values))


def cut(path, keep):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: round(keep * len(lines))]))


def report_in(folder):
    return {name: (folder / name).read_bytes() for name in REPORT if (folder / name).is_file()}


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize(
    ("file", "keep"),
    [("snapshots.jsonl", 0.5), ("evaluations.jsonl", 0.3), ("baselines.jsonl", 0.4)],
)
def test_a_front_made_from_less_says_so_and_the_earlier_one_is_kept(folder, file, keep, noted):
    if not noted:
        without_notes(folder)
    before = report_in(folder)
    cut(folder / file, keep)
    write_report(folder)
    assert (folder / "front.csv").read_bytes() != before["front.csv"] or file == "baselines.jsonl"
    assert report_in(folder / "earlier") == before
    for text in (
        summary(load(folder)),
        (folder / "report.md").read_text(),
        (folder / "report.html").read_text(),
    ):
        assert "archive is incomplete" in text
        assert file in text
        assert "lies in earlier" in text
    # Whoever reads the verdict alone is told, too.
    assert summary(load(folder)).startswith("From an incomplete archive: ")


def test_each_report_that_was_made_from_more_is_kept_once(folder):
    before = report_in(folder)
    cut(folder / "snapshots.jsonl", 0.5)
    write_report(folder)
    after = report_in(folder)
    write_report(folder)
    assert not (folder / "earlier-2").exists()
    cut(folder / "snapshots.jsonl", 0.5)
    write_report(folder)
    assert report_in(folder / "earlier") == before
    assert report_in(folder / "earlier-2")["front.csv"] == after["front.csv"]


def test_whole_files_brought_back_give_the_report_that_was(folder):
    before, whole = report_in(folder), (folder / "snapshots.jsonl").read_bytes()
    cut(folder / "snapshots.jsonl", 0.5)
    write_report(folder)
    (folder / "snapshots.jsonl").write_bytes(whole)
    write_report(folder)
    assert load(folder).losses == ()
    assert (folder / "front.csv").read_bytes() == before["front.csv"]
    assert "incomplete" not in (folder / "report.md").read_text()


def test_a_whole_folder_is_reported_again_without_a_word(folder):
    before = report_in(folder)
    write_report(folder)
    assert report_in(folder)["front.csv"] == before["front.csv"]
    assert not list(folder.glob("earlier*"))
    assert load(folder).losses == ()
    # So is one whose last line a crash has torn, and one that a search adds to meanwhile.
    with (folder / "snapshots.jsonl").open("a") as file:
        file.write('{"snapshot_id": "m00')
    assert load(folder).losses == ()


def test_lost_events_are_told(folder):
    (folder / "events.jsonl").unlink()
    write_report(folder)
    assert "events.jsonl is missing" in (folder / "report.md").read_text()


def test_tables_that_are_made_again_are_no_loss(folder):
    for name in ("episodes.parquet", "layers.parquet", "front.csv", "snapshots.csv"):
        (folder / name).unlink()
    write_report(folder)
    assert load(folder).losses == ()
    assert (folder / "episodes.parquet").is_file()
    assert not list(folder.glob("earlier*"))


def test_policies_that_are_gone_are_told_and_what_was_measured_on_them_is_kept(folder):
    before = report_in(folder)
    shutil.rmtree(folder / "policies")
    write_report(folder)
    points = len(load(folder).front)
    told = f"the policies of {points} of {points} front points are not in policies/"
    assert told in (folder / "report.md").read_text()
    assert (folder / "earlier" / "front.csv").read_bytes() == before["front.csv"]
    write_report(folder)
    assert not (folder / "earlier-2").exists()


def test_an_archive_of_which_nothing_is_left_is_not_called_a_new_search(folder):
    (folder / "snapshots.jsonl").write_bytes(b"")
    with pytest.raises(
        ResultsError, match=r"nothing is left to report: snapshots\.jsonl holds 0 of"
    ):
        load(folder)


def test_a_comparison_says_which_archive_is_incomplete(folder, simulate, tmp_path):
    other = simulate(tmp_path / "other", seed=3, members=4, fresh=20)
    cut(folder / "snapshots.jsonl", 0.5)
    _, told = write_comparison([folder, other.folder], tmp_path / "both")
    assert "the archive of cartpole is incomplete: snapshots.jsonl holds" in told


def test_a_configuration_that_was_edited_is_told(folder):
    path = folder / "manifest.json"
    began = {"name": "cartpole", "env": "CartPole-v1", "seed": 1}
    path.write_text(json.dumps({**json.loads(path.read_text()), "config": began}))
    (folder / "config.yaml").write_text("name: cartpole\nenv: CartPole-v1\nseed: 2\n")
    assert "config.yaml was changed since: seed = 2, and it was 1" in summary(search.load(folder))
