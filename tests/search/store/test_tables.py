import dataclasses
import math

import pandas as pd
import pytest

from search.store import tables
from search.store.archive import Archive

CONTRACT = [
    "snapshot_id", "trial_number", "member", "segment", "iteration", "env_steps", "wall_time",
    "status", "return_mean", "return_std", "episodes", "sparsity", "critic_sparsity",
    "nonzero_params", "total_params", "parent", "checkpoint",
]  # fmt: skip


def test_snapshots_open_with_the_contract_then_hyperparameters_then_objectives(finished):
    first, *others = finished.snapshots
    first = dataclasses.replace(first, objectives={"macs": 12.0})
    table = tables.snapshots_table([first, *others])
    assert list(table.columns) == [
        *CONTRACT, "hp.end", "hp.final_sparsity", "hp.lr", "hp.schedule", "hp.tolerance", "obj.macs",
    ]  # fmt: skip
    assert table["snapshot_id"].tolist() == [s.snapshot_id for s in finished.snapshots]
    assert table["hp.tolerance"].isna().sum() > 0
    assert table["obj.macs"].count() == 1


def test_episodes_hold_every_episode_with_its_purpose(finished):
    archive = Archive(finished.folder)
    table = tables.episodes_table(archive.snapshots(), archive.evaluations())
    counts = table.groupby("purpose").size()
    assert counts["search"] == 5 * len(finished.snapshots)
    assert counts["selection"] == counts["report"] == 100 * (24 + 3)
    one = archive.evaluations()[0]
    rows = table[(table["snapshot_id"] == one.snapshot_id) & (table["purpose"] == one.purpose)]
    assert rows["seed"].tolist() == one.seeds
    assert rows["return"].tolist() == one.returns
    assert rows["length"].tolist() == one.lengths


def test_layers_hold_each_layer_of_each_snapshot(finished):
    table = tables.layers_table(finished.snapshots)
    assert len(table) == 3 * len(finished.snapshots)
    assert table["sparsity"].between(0, 1).all()


def test_empty_archives_give_empty_tables_with_all_columns():
    assert list(tables.snapshots_table([]).columns) == CONTRACT
    assert list(tables.episodes_table([], []).columns) == list(tables.EPISODE_COLUMNS)
    assert list(tables.layers_table([]).columns) == list(tables.LAYER_COLUMNS)


def test_env_steps_of_all_members_count_each_segment_from_its_parent(finished):
    steps = tables.env_steps_done(finished.snapshots)
    assert (steps[1:] >= steps[:-1]).all()
    # Every member trains the whole horizon; copying a donor copies its clock, not its steps.
    assert steps[-1] == pytest.approx(8 * 100_000, rel=1e-3)


def test_mixed_and_missing_values_survive_parquet(tmp_path):
    table = pd.DataFrame(
        {
            "number": [1, None, 2.5],
            "flag": [True, None, False],
            "mixed": [1, "cubic", None],
            "whole": [1, 2, 3],
            "nothing": [None, None, None],
        }
    )
    tables.write_parquet(tmp_path / "a.parquet", table)
    read = pd.read_parquet(tmp_path / "a.parquet")
    assert list(read.columns) == list(table.columns)
    assert read["number"].tolist()[::2] == [1.0, 2.5]
    assert read["flag"].tolist()[::2] == [True, False]
    assert read["mixed"].tolist()[:2] == ["1", "cubic"]
    assert read.isna().sum().to_dict() == {
        "number": 1, "flag": 1, "mixed": 1, "whole": 0, "nothing": 3
    }  # fmt: skip


def test_what_is_not_measured_is_an_empty_cell(tmp_path):
    table = pd.DataFrame({"a": [1.5, math.nan], "b": [None, "x"]})
    tables.write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == "a,b\n1.5,\n,x\n"
