"""What follows the training: results are read, and resampled, no oftener than they grow."""

import contextlib
import json
from unittest.mock import Mock

import pandas as pd
import pytest
from pretended_search import coordinated

import search.front.read_results
import search.front.results
import search.runs.after_training
import search.runs.search
from search.evaluation import front_latency
from search.front.read_results import read_results
from search.population.plain_sizes import PlainSizes
from search.report import write_report
from search.report.terminal import summary
from search.store.archive import CANDIDATES, Archive, Baseline
from search.store.folder import update_manifest

BASELINES = {"random_masks": 1, "small_dense": 2, "train_then_prune": 0, "linear": 1, "tree": 0}


@pytest.fixture
def counted(monkeypatch):
    """How often a folder was read, and episodes were resampled into figures."""
    counts = {"losses_of": 0, "confirm": 0}

    def counting(name, found):
        def count(*arguments, **options):
            counts[name] += 1
            return found(*arguments, **options)

        return count

    homes = {"losses_of": search.front.read_results, "confirm": search.front.results}
    for name, home in homes.items():
        monkeypatch.setattr(home, name, counting(name, getattr(home, name)))
    return counts


@pytest.fixture
def ended(monkeypatch, simulate, tmp_path):
    """A search whose members have trained and whose policies were evaluated; nothing else needs Ray."""
    folder = simulate(tmp_path / "cartpole", members=4, fresh=20).folder
    update_manifest(
        folder, status="running", env_steps={"training": 80_000, "baselines": 0, "evaluation": 0}
    )
    told = {"planned": [], "shifted": []}

    def train(config, ppo, archive, planned, on_progress, note):
        told["planned"] = [plan.name for plan in planned]
        for plan in planned:
            archive.add_baseline(
                Baseline(
                    name=plan.name, description=plan.description, env_steps=1_000, wall_time=1.0,
                    search_return=100.0, kind=plan.kind, level=plan.level, checkpoint="",
                )
            )  # fmt: skip

    def shift(results, ppo, shifts, seeds, on_progress, note):
        told["shifted"] = list(results.points["snapshot_id"])

    after = search.runs.after_training
    monkeypatch.setattr(after, "evaluate_policies", lambda *arguments, **options: None)
    monkeypatch.setattr(after, "train_baselines", train)
    plain = PlainSizes(layers=((64, 4), (64, 64), (2, 64)), refused={"linear": "linear: pictures."})
    monkeypatch.setattr(after, "plain_sizes_of", lambda ppo: plain)
    monkeypatch.setattr(after, "evaluate_shifts", shift)
    monkeypatch.setattr(after, "film_the_pick", lambda results, ppo, phase: None)
    monkeypatch.setattr(front_latency, "latencies", lambda places: dict.fromkeys(places, 7.0))
    figures = {"c_flash_bytes": 470, "c_latency_us": 0.016, "export_note": None}
    monkeypatch.setattr(
        front_latency, "exported_figures", lambda places: dict.fromkeys(places, figures)
    )
    monkeypatch.setattr(search.runs.search, "session", session)
    monkeypatch.setattr(
        search.runs.search,
        "_search",
        lambda config, prepared, folder, display: after.after_training(
            config, None, Archive(folder), display
        ),
    )
    return folder, told


@contextlib.contextmanager
def session(folder, address, note):
    yield
    update_manifest(folder, status="finished")


def run(folder, **changes):
    config = coordinated(baselines=BASELINES, evaluation={"shifts": [{"noise": 0.1}]}, **changes)
    return search.runs.search._run(config, None, folder, Mock(), None)


def test_results_are_read_twice_and_resampled_once(ended, counted):
    folder, told = ended
    results = run(folder)
    summary(results)
    assert len(told["planned"]) == 3
    assert counted == {"losses_of": 2, "confirm": 1}
    # What is shown is what another process would read.
    pd.testing.assert_frame_equal(results.confirmed.table, read_results(folder).confirmed.table)
    assert list(results.front["snapshot_id"]) == told["shifted"]
    assert set(told["planned"]) <= set(results.baselines["name"])
    assert results.manifest["status"] == "finished"
    assert not any("has not ended" in note for note in results.confirmed.notes)
    # What the environment has none of is said once, however often the search is resumed.
    assert "linear: pictures." in results.page.read_text()
    run(folder)
    assert Archive(folder).left_out() == {"linear": "linear: pictures."}
    assert sum(e["event"] == "left_out" for e in Archive(folder).events()) == 1


def test_the_report_of_a_search_is_that_of_its_folder(ended):
    folder, _ = ended
    results = run(folder)
    before = {name: (folder / name).read_bytes() for name in ("front.csv", "baselines.csv")}
    page = results.page.read_text()
    assert (results.front["latency_us"] == 7.0).all()
    assert (results.front["c_flash_bytes"] == 470).all()
    assert "470 bytes of flash" in page
    assert write_report(folder) == results.page
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert results.page.read_text() == page


def test_without_a_front_nothing_is_shifted_or_held_against_it(ended, simulate, tmp_path):
    _, told = ended
    folder = simulate(tmp_path / "bad", members=4, purposes=()).folder
    Archive(folder).add_event(CANDIDATES, chosen=[])
    update_manifest(
        folder, status="running", env_steps={"training": 80_000, "baselines": 0, "evaluation": 0}
    )
    results = run(folder)
    assert told == {"planned": [], "shifted": []}
    assert results.points.empty
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
