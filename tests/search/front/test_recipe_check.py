import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

import search
from search.front.intervals import interquartile_interval, interquartile_mean
from search.front.recipe_check import RETRAIN_COLUMNS, recipe_table
from search.report import facts, record, write_report
from search.store.archive import Archive, Evaluation

RETURNS = [480.0, 300.0, 420.0, 450.0, 20.0]


@pytest.fixture(scope="module")
def checked(tmp_path_factory, simulate):
    """A simulated search, with five replays of one recipe, and three of another that fail or wait."""
    world = simulate(tmp_path_factory.mktemp("checked") / "a", members=6, segments=3)
    ids = list(search.load(world.folder).front["snapshot_id"])[:2]
    by_id = {s.snapshot_id: s for s in world.snapshots}
    place = world.folder / "retrain"
    place.mkdir()
    archive = Archive(place)
    for member in range(8):
        point, index = (ids[0], member) if member < 5 else (ids[1], member - 5)
        archive.add_event("replay", member=member, point=point, index=index)
        name = f"m{member:02d}-s000-i0001"
        if member == 5:
            archive.add_event("failure", member=5, segment=0, error="it died")
        if member > 4:
            continue
        source = by_id[point]
        archive.add_snapshot(dataclasses.replace(
            source, snapshot_id=name, member=member, segment=0, checkpoint=f"policies/{name}"
        ))  # fmt: skip
        (place / "policies" / name).mkdir(parents=True)
        spread = [-1.0, 1.0] * 50
        archive.add_evaluation(Evaluation(
            snapshot_id=name, purpose="report", seeds=list(range(100)),
            returns=[RETURNS[member] + s for s in spread], lengths=[1] * 100,
        ))  # fmt: skip
    return world.folder, ids


def test_a_recipe_is_the_interquartile_mean_over_its_seeds(checked):
    folder, ids = checked
    table = search.load(folder).recipe_check
    assert tuple(table.columns) == RETRAIN_COLUMNS
    seeds = table[(table["snapshot_id"] == ids[0]) & (table["row"] != "recipe")]
    assert list(seeds["return_mean"]) == RETURNS
    assert list(seeds["row"]) == [f"seed {i}" for i in range(5)]
    recipe = table[(table["snapshot_id"] == ids[0]) & (table["row"] == "recipe")].iloc[0]
    assert recipe["return_mean"] == pytest.approx((300 + 420 + 450) / 3)
    assert (recipe["return_worst"], recipe["return_best"]) == (20.0, 480.0)
    assert 20 <= recipe["return_ci_low"] < recipe["return_mean"] < recipe["return_ci_high"] <= 480
    assert (recipe["seeds"], recipe["failed"]) == (5, 0)


def test_the_checkpoint_s_own_figures_stand_beside_it(checked):
    folder, ids = checked
    results = search.load(folder)
    own = results.front.set_index("snapshot_id").loc[ids[0]]
    for row in results.recipe_check[results.recipe_check["snapshot_id"] == ids[0]].to_dict(
        "records"
    ):
        assert row["checkpoint_return"] == own["return_mean"]
        assert row["checkpoint_sparsity"] == own["sparsity"]
        assert row["checkpoint_retained"] == own["retained"]


def test_a_recipe_of_which_all_failed_or_wait_has_no_figure(checked):
    folder, ids = checked
    table = search.load(folder).recipe_check
    (row,) = table[table["snapshot_id"] == ids[1]].to_dict("records")
    assert (row["seeds"], row["failed"]) == (0, 1)
    assert np.isnan(row["return_mean"])
    assert "fewer than 3 seeds" in row["return_note"]


@pytest.mark.parametrize("returns", [[np.nan] * 100, [np.inf] * 100, [480.0] * 99 + [np.nan], []])
def test_a_replay_whose_returns_are_no_numbers_has_failed(checked, tmp_path, returns):
    folder, ids = checked
    archive = Archive(folder / "retrain")
    shutil.copytree(folder / "retrain", tmp_path / "retrain")
    copy = Archive(tmp_path / "retrain")
    first = archive.evaluations()[0]
    copy.add_evaluation(dataclasses.replace(
        first, returns=returns, seeds=first.seeds[:len(returns)], lengths=first.lengths[:len(returns)]
    ))  # fmt: skip
    table = recipe_table(tmp_path, search.load(folder).confirmed)
    own = table[table["snapshot_id"] == ids[0]]
    assert list(own["row"]) == ["seed 1", "seed 2", "seed 3", "seed 4", "recipe"]
    recipe = own.iloc[-1]
    assert (recipe["seeds"], recipe["failed"]) == (4, 1)
    assert (recipe["return_worst"], recipe["return_best"]) == (20.0, 450.0)
    assert recipe["return_mean"] == pytest.approx((300 + 420) / 2)


def test_a_later_success_wipes_a_failure_out(checked, tmp_path):
    folder, _ = checked
    archive = Archive(folder / "retrain")
    (tmp_path / "retrain").mkdir()
    copy = Archive(tmp_path / "retrain")
    for event in archive.events():
        copy.add_event(event.pop("event"), **event)
    last = dataclasses.replace(archive.snapshots()[0], snapshot_id="m05-s000-i0001", member=5)
    copy.add_snapshot(last)
    assert len(recipe_table(tmp_path, search.load(folder).confirmed)) == 0


def test_report_shows_the_recipe_check_and_writes_its_table(checked):
    folder, ids = checked
    page = write_report(folder).read_text(encoding="utf-8")
    assert 'data-chart="recipes"' in page
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "## Recipe check" in text
    assert f"| {ids[0]} |" in text.split("## Recipe check")[1]
    results = search.load(folder)
    csv = pd.read_csv(folder / "retrain.csv")
    assert list(csv.columns) == list(RETRAIN_COLUMNS)
    assert len(csv) == len(results.recipe_check) == 7
    first, second = facts.recipe_checks(results)
    assert first["this recipe"].startswith("390 (")
    assert second["seeds"] == "0, 1 failed"


def test_runs_that_all_agree_have_no_interval():
    rng = np.random.default_rng(0)
    assert all(np.isnan(interquartile_interval([500.0] * 5, rng)))
    assert all(np.isnan(interquartile_interval([1.0, 2.0], rng)))
    assert all(np.isnan(interquartile_interval([1.0, 2.0, np.nan], rng)))
    low, high = interquartile_interval([1.0, 2.0, 3.0, 4.0, 5.0], rng)
    assert 1 <= low < interquartile_mean([1.0, 2.0, 3.0, 4.0, 5.0]) < high <= 5


def test_retraining_is_booked_in_the_report(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=2)
    path = world.folder / "manifest.json"
    runs = [{"env_steps": 1_000}, {"env_steps": 500}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "retrain": runs}))
    told = dict(record.provenance(search.load(world.folder)))
    assert told["env steps of the recipe check"] == "1,500"
