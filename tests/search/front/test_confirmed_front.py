import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from search.front.confirmed_front import FRONT_COLUMNS, confirm
from search.front.pareto import nondominated
from search.store.archive import Archive

CONTRACT = [
    "snapshot_id", "sparsity", "density", "return_mean", "return_ci_low", "return_ci_high",
    "episodes", "search_return", "retained", "p_nondominated", "nonzero_params", "total_params",
    "shrunk_params", "macs", "latency_us", "knee", "policy",
]  # fmt: skip


def confirmed(folder, seed=0, **changes):
    archive = Archive(folder)
    inputs = {
        "snapshots": archive.snapshots(),
        "evaluations": archive.evaluations(),
        "baselines": archive.baselines(),
        "rng": np.random.default_rng(seed),
    }
    return confirm(**(inputs | changes))


def test_the_table_opens_with_the_contract_s_columns(finished):
    table = confirmed(finished.folder).table
    assert list(table.columns[: len(CONTRACT)]) == CONTRACT
    assert tuple(table.columns) == FRONT_COLUMNS
    assert table["macs"].isna().all()


def test_selection_decides_and_report_gives_the_figures(finished):
    evaluations = Archive(finished.folder).evaluations()
    front = confirmed(finished.folder)
    worse = [
        dataclasses.replace(e, returns=[r / 2 for r in e.returns]) if e.purpose == "report" else e
        for e in evaluations
    ]
    other = confirmed(finished.folder, evaluations=worse)
    for column in ("snapshot_id", "knee", "keeps_95", "selection_return"):
        assert (front.table[column] == other.table[column]).all()
    assert other.table["return_mean"].to_numpy() == pytest.approx(front.table["return_mean"] / 2)
    by_hand = {e.snapshot_id: np.mean(e.returns) for e in evaluations if e.purpose == "report"}
    for row in front.table.to_dict("records"):
        assert row["return_mean"] == pytest.approx(by_hand[row["snapshot_id"]])
        assert row["optimism"] == pytest.approx(row["search_return"] - row["return_mean"])


def test_picks_are_the_sparsest_that_keep_enough_on_selection_seeds(finished):
    front = confirmed(finished.folder)
    scores = {
        e.snapshot_id: np.mean(e.returns)
        for e in Archive(finished.folder).evaluations()
        if e.purpose == "selection"
    }
    span = scores["dense"] - scores["random"]
    for column, share in (("keeps_95", 0.95), ("keeps_99", 0.99)):
        enough = front.table[
            front.table["selection_return"] >= scores["random"] + share * span - 1e-9
        ]
        assert front.pick(column) == enough["snapshot_id"].iloc[-1]
        assert front.table[column].sum() == 1
    assert front.table["knee"].sum() == 1


def test_intervals_hold_the_mean_and_probabilities_are_shares(finished):
    table = confirmed(finished.folder).table
    varied = table[table["return_note"] == ""]
    assert len(varied) > 3
    assert (varied["return_ci_low"] < varied["return_mean"]).all()
    assert (varied["return_mean"] < varied["return_ci_high"]).all()
    assert table["p_nondominated"].between(0, 1).all()


def test_the_same_seed_gives_the_same_front(finished):
    first, second = (confirmed(finished.folder, seed=5).table for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_report_figures_are_unbiased_where_the_naive_front_overstates(tmp_path, simulate):
    picked, reported, naive = [], [], []
    for seed in range(40):
        world = simulate(
            tmp_path / str(seed), seed=seed, members=4, segments=3, kind="normal", limit=12
        )
        table = confirmed(world.folder).table
        errors = table["return_mean"] - table["snapshot_id"].map(world.truth)
        reported.append(errors.mean())
        picked += errors[table["keeps_95"]].tolist()
        points = np.array([(s.return_mean, s.sparsity) for s in world.snapshots])
        front = [s for s, on in zip(world.snapshots, nondominated(points), strict=True) if on]
        naive.append(np.mean([s.return_mean - world.truth[s.snapshot_id] for s in front]))
    # Points of one search share their seeds, so the search is the unit.
    reported, picked, naive = pd.Series(reported), pd.Series(picked), pd.Series(naive)
    assert len(picked) >= 30
    assert abs(reported.mean()) < 2.5 * reported.sem()
    assert abs(picked.mean()) < 2.5 * picked.sem()
    assert naive.mean() > 4 * naive.sem()


def test_without_report_episodes_selection_gives_the_figures_and_says_so(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=("selection",), members=4, segments=3)
    front = confirmed(world.folder)
    assert front.figures == "selection"
    assert "report episodes are missing" in front.notes[0]
    assert front.table["return_mean"].equals(front.table["selection_return"])


def test_without_any_episodes_the_front_is_empty_and_says_why(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=(), members=4, segments=2)
    front = confirmed(world.folder)
    assert len(front.table) == 0
    assert tuple(front.table.columns) == FRONT_COLUMNS
    assert "prunefront resume" in front.notes[0]


def test_policies_that_were_to_be_re_evaluated_and_have_not_been_are_counted(finished):
    known = [e.snapshot_id for e in Archive(finished.folder).evaluations()]
    ids = [i for i in dict.fromkeys(known) if i.startswith("m")]
    assert not any("re-evaluated" in n for n in confirmed(finished.folder, candidates=ids).notes)
    front = confirmed(
        finished.folder, candidates=[*ids, "m09-s009-i0009"], unfinished="interrupted"
    )
    (note,) = [n for n in front.notes if "re-evaluated" in n]
    assert f"of {len(ids) + 1} policies that were to be re-evaluated, 1 have not been" in note
    assert "prunefront resume" in note


def test_a_search_that_goes_on_after_its_re_evaluation_says_so(finished):
    (note,) = [n for n in confirmed(finished.folder, unfinished="running").notes if "ended" in n]
    assert "(running)" in note
    assert not any("ended" in n for n in confirmed(finished.folder).notes)


def test_where_nothing_was_worth_re_evaluating_nobody_is_told_to_go_on(tmp_path, simulate):
    world = simulate(tmp_path / "a", purposes=(), members=4, segments=2)
    front = confirmed(world.folder, candidates=[])
    assert front.table.empty
    assert "none was re-evaluated" in front.notes[0]
    assert not any("resume" in n for n in front.notes)


def test_dense_no_better_than_random_leaves_retained_empty_and_says_why(finished):
    archive = Archive(finished.folder)
    flat = [
        dataclasses.replace(e, returns=[22.0, 21.0] * 50) if e.snapshot_id == "dense" else e
        for e in archive.evaluations()
    ]
    front = confirmed(finished.folder, evaluations=flat)
    assert front.table["retained"].isna().all()
    assert front.pick("keeps_95") == ""
    assert any("not clearly above" in note for note in front.notes)
    assert all(math.isnan(area) for area in front.hypervolumes)


def test_what_is_no_better_than_the_controls_is_not_on_the_front(finished):
    archive = Archive(finished.folder)
    strong = [
        dataclasses.replace(e, returns=[300.0 + r for r in e.returns])
        if e.snapshot_id == "constant"
        else e
        for e in archive.evaluations()
    ]
    front = confirmed(finished.folder, evaluations=strong)
    assert len(front.table) < len(confirmed(finished.folder).table)
    assert (front.table["selection_return"] > 300).all()
    everything = [
        dataclasses.replace(e, returns=[600.0 + r for r in e.returns])
        if e.snapshot_id == "constant"
        else e
        for e in archive.evaluations()
    ]
    empty = confirmed(finished.folder, evaluations=everything)
    assert len(empty.table) == 0
    assert any("front is empty" in note for note in empty.notes)


def test_returns_that_are_not_numbers_are_left_out_and_named(finished):
    archive = Archive(finished.folder)
    first = confirmed(finished.folder).table["snapshot_id"].iloc[0]
    broken = [
        dataclasses.replace(e, returns=[math.nan, *e.returns[1:]]) if e.snapshot_id == first else e
        for e in archive.evaluations()
    ]
    front = confirmed(finished.folder, evaluations=broken)
    assert first not in set(front.candidates["snapshot_id"])
    assert any(note.startswith(first) for note in front.notes)


def test_episodes_for_a_purpose_of_a_newer_version_are_passed_over(finished):
    evaluations = Archive(finished.folder).evaluations()
    other = [dataclasses.replace(e, purpose="later") for e in evaluations]
    front = confirmed(finished.folder, evaluations=[*evaluations, *other])
    pd.testing.assert_frame_equal(front.table, confirmed(finished.folder).table)


def test_one_policy_makes_a_front_of_one_without_a_knee(finished):
    archive = Archive(finished.folder)
    only = confirmed(finished.folder).table["snapshot_id"].iloc[0]
    names = {only, *archive.baselines()}
    kept = [e for e in archive.evaluations() if e.snapshot_id in names]
    front = confirmed(finished.folder, evaluations=kept)
    assert list(front.table["snapshot_id"]) == [only]
    assert front.table["p_nondominated"].iloc[0] == 1
    assert front.pick("knee") == ""


def test_two_policies_tied_in_both_objectives_are_one_point_of_the_front(finished):
    archive = Archive(finished.folder)
    table = confirmed(finished.folder).table
    one = table["snapshot_id"].iloc[0]
    twin = dataclasses.replace(
        next(s for s in archive.snapshots() if s.snapshot_id == one), snapshot_id="twin"
    )
    copies = [
        dataclasses.replace(e, snapshot_id="twin")
        for e in archive.evaluations()
        if e.snapshot_id == one
    ]
    front = confirmed(
        finished.folder,
        snapshots=[*archive.snapshots(), twin],
        evaluations=[*archive.evaluations(), *copies],
    )
    assert len({one, "twin"} & set(front.table["snapshot_id"])) == 1
    assert {one, "twin"} <= set(front.candidates["snapshot_id"])
    assert len(front.table) == len(table)
    assert front.table["keeps_95"].sum() == 1
