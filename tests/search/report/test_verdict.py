"""What the verdict says beside its pick: the plain policy that is as good, or better."""

import dataclasses

import numpy as np
import pytest

from search.report import facts
from search.report.markdown import markdown
from search.report.notebook import load
from search.report.verdict import verdict
from search.store.archive import LEFT_OUT, Archive, Baseline, Evaluation


@pytest.fixture
def search(simulate, tmp_path):
    return load(simulate(tmp_path / "cartpole").folder)


def with_plain(results, name, kind, weights, change, **more):
    """The search with a plain policy whose returns are those of the pick, and some more."""
    archive, pick = Archive(results.folder), results.confirmed.pick("keeps_95")
    archive.add_baseline(
        Baseline(
            name=name, description="", env_steps=1, wall_time=0.0, search_return=0.0, kind=kind,
            level=pick, nonzero_params=weights, total_params=weights, **more,
        )
    )  # fmt: skip
    for e in results.evaluations:
        if e.snapshot_id == pick:
            returns = (np.asarray(e.returns) + change).tolist()
            archive.add_evaluation(dataclasses.replace(e, snapshot_id=name, returns=returns))
    return load(results.folder)


def weights_of_pick(results):
    table = results.confirmed.table
    return int(table.loc[table["keeps_95"], "nonzero_params"].iloc[0])


@pytest.mark.parametrize(
    ("retained", "said"),
    [(0.951, "keep 95 % of the dense policy: "), (0.949, "fresh episodes give less: ")],
)
def test_a_pick_is_not_said_to_keep_what_its_fresh_episodes_do_not(search, retained, said):
    table = search.confirmed.table.copy()
    pick = table["snapshot_id"] == search.confirmed.pick("keeps_95")
    table.loc[pick, "retained"] = retained
    table["keeps_99"] = False
    vars(search)["confirmed"] = dataclasses.replace(search.confirmed, table=table)
    told = verdict(search)
    assert said in told
    assert ("were chosen for 95 % of the dense policy" in told) == (retained < 0.95)
    assert f"retained {retained:.2f}" in told


def test_without_plain_policies_nothing_is_said_of_any(search):
    assert "too" not in verdict(search)
    assert "better" not in verdict(search)


def test_a_plain_policy_that_keeps_as_much_is_named(search):
    told = verdict(with_plain(search, "linear-3", "linear", 3, 0.0))
    both = "keep 95 % and 99 %" in told
    verb = "does too" if both else "keeps 95 % too"
    assert f"A linear policy of 3 weights {verb}: return" in told
    assert "the same on every seed." in told


def test_a_tree_is_named_with_what_it_holds(search):
    found = with_plain(search, "tree-5", "tree", 5, 0.0, unit="numbers", flash_bytes=12)
    assert "A decision tree of 5 numbers" in verdict(found)
    row = next(row for row in facts.baselines(found) if row["baseline"] == "tree-5")
    assert row["size"] == "5 numbers, 12 bytes"
    smallest = found.confirmed.table.iloc[-1]
    assert smallest["nonzero_params"] >= 5
    # The smallest point that is no smaller is hardly better than random.
    assert row["against the front"].startswith("+")
    told = f"to {smallest['snapshot_id']} of {smallest['nonzero_params']}"
    assert row["against the front"].endswith(told)


def test_a_better_one_is_called_better_with_its_interval(search):
    noise = np.random.default_rng(0).normal(size=100)
    told = verdict(with_plain(search, "small_dense-7", "small_dense", 7, 20 + noise))
    assert "A plain dense network of 7 weights is better: return" in told
    assert "95 %, paired by seed" in told


def test_one_that_is_larger_or_worse_is_not_named(search):
    most = weights_of_pick(search)
    found = with_plain(search, "small_dense-9", "small_dense", most + 1, 20.0)
    found = with_plain(found, "linear-2", "linear", 2, -200.0)
    assert "plain dense" not in verdict(found)
    assert "linear" not in verdict(found)


def test_where_no_point_keeps_enough_a_plain_policy_that_does_is_named(search):
    front = search.confirmed.table
    densest = front["snapshot_id"].iloc[0]
    best = max(np.mean(e.returns) for e in search.evaluations if e.snapshot_id == "dense")
    archive = Archive(search.folder)
    for e in search.evaluations:
        if e.snapshot_id not in ("dense", "random", "constant"):
            returns = [r * 0.8 for r in e.returns]
            archive.add_evaluation(dataclasses.replace(e, returns=returns))
    assert densest
    missed = load(search.folder)
    assert "No policy on the front keeps 95 %" in verdict(missed)
    archive.add_baseline(
        Baseline(
            name="linear-4", description="", env_steps=1, wall_time=0.0, search_return=best,
            kind="linear", nonzero_params=4, total_params=4,
        )
    )  # fmt: skip
    for e in search.evaluations:
        if e.snapshot_id == "dense":
            archive.add_evaluation(Evaluation(**{**vars(e), "snapshot_id": "linear-4"}))
    told = verdict(load(search.folder))
    assert "A linear policy of 4 weights does: return" in told
    assert "retained 1.00." in told


def test_why_a_kind_is_left_out_stands_beside_the_baselines(search):
    Archive(search.folder).add_event(LEFT_OUT, baseline="tree", why="tree: the policy sees a Dict.")
    found = load(search.folder)
    assert facts.left_out(found) == ["tree: the policy sees a Dict."]
    assert "tree: the policy sees a Dict." in markdown(found)
