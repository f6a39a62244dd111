"""What the verdict says beside its pick: the plain policy that is as good, or better."""

import dataclasses
import math

import numpy as np
import pytest

from search.report import facts
from search.report.markdown import markdown
from search.report.notebook import load
from search.report.verdict import verdict
from search.store.archive import CANDIDATES, LEFT_OUT, Archive, Baseline, Evaluation


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
    assert f"retained {0.95 if retained >= 0.95 else 0.949}." in told


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


def scaled_down(results, selection, report):
    """The search with other returns of its policies, by share, on the two sets of seeds."""
    archive = Archive(results.folder)
    shares = {"selection": selection, "report": report}
    for e in results.evaluations:
        if e.snapshot_id not in ("dense", "random", "constant"):
            returns = [r * shares[e.purpose] for r in e.returns]
            archive.add_evaluation(dataclasses.replace(e, returns=returns))
    return load(results.folder)


def test_a_plain_policy_that_keeps_enough_is_named_though_a_smaller_one_is_better(search):
    missed = scaled_down(search, 0.8, 0.8)
    assert "No policy on the front keeps 95 %" in verdict(missed)
    archive = Archive(missed.folder)
    for name, weights, share in (("linear-3", 3, 0.9), ("linear-4", 4, 1.0)):
        archive.add_baseline(
            Baseline(
                name=name, description="", env_steps=1, wall_time=0.0, search_return=0.0,
                kind="linear", nonzero_params=weights, total_params=weights,
            )
        )  # fmt: skip
        for e in missed.evaluations:
            if e.snapshot_id == "dense":
                returns = [r * share for r in e.returns]
                archive.add_evaluation(dataclasses.replace(e, snapshot_id=name, returns=returns))
    told = load(missed.folder)
    rivals = told.confirmed.rivals.set_index("baseline")
    densest = rivals[rivals["snapshot_id"] == told.confirmed.table["snapshot_id"].iloc[0]]
    assert (densest["difference_low"] > 0).all()
    assert densest["keeps_95"].to_dict() == {"linear-3": False, "linear-4": True}
    assert "A linear policy of 4 weights does: return" in verdict(told)


def test_that_none_keeps_enough_is_not_said_beside_one_that_does(search):
    """Selection episodes decide; the report's may see the same policies above the level."""
    missed = scaled_down(search, 0.9, 1.0)
    table = missed.confirmed.table
    assert not table["keeps_95"].any()
    assert table["retained"].max() >= 0.95
    told = verdict(missed)
    assert (
        "keeps 95 % of the dense one in the episodes that decide; in the report's the best" in told
    )
    assert "one; the best keeps" not in told


@pytest.mark.parametrize(("retained", "said"), [(0.993, "was chosen for"), (0.985, "keeps")])
def test_that_none_keeps_99_is_not_said_where_report_episodes_show_one(search, retained, said):
    table = search.confirmed.table.copy()
    table["keeps_99"] = False
    table["retained"] = table["retained"].clip(upper=retained)
    table.loc[table["keeps_95"], "retained"] = retained
    vars(search)["confirmed"] = dataclasses.replace(search.confirmed, table=table)
    assert verdict(search).endswith(f" None {said} 99 %.")


def test_a_denser_pick_for_99_is_not_said_to_keep_it_either(search):
    table = search.confirmed.table.copy()
    at = int(np.flatnonzero(table["keeps_95"])[0])
    assert at > 0
    table["keeps_99"] = np.arange(len(table)) == at - 1
    table.loc[at - 1, "retained"] = 0.9896
    table.loc[at, "retained"] = 0.97
    vars(search)["confirmed"] = dataclasses.replace(search.confirmed, table=table)
    told = verdict(search)
    assert "were chosen for 99 %; fresh episodes give less: retained 0.989." in told
    assert "99 % takes" not in told


def test_what_meets_the_goal_is_not_praised_without_its_plain_rival(search):
    (search.folder / "config.yaml").write_text("goal: {max_weights: 60}\n")
    aimed = load(search.folder)
    met = aimed.confirmed.pick("goal")
    assert met != aimed.confirmed.pick("keeps_95")
    archive = Archive(search.folder)
    archive.add_baseline(
        Baseline(
            name="small_dense-9", description="", env_steps=1, wall_time=0.0, search_return=0.0,
            kind="small_dense", nonzero_params=9, total_params=9,
        )
    )  # fmt: skip
    for e in aimed.evaluations:
        if e.snapshot_id == met:
            returns = [r + 3.0 for r in e.returns]
            archive.add_evaluation(
                dataclasses.replace(e, snapshot_id="small_dense-9", returns=returns)
            )
    told = verdict(load(search.folder))
    goal, _, rest = told.partition(" A plain dense network of 9 weights is better: return ")
    assert goal.startswith(f"Goal: at most 60 weights – met by {met} with ")
    assert ", +3 against it " in rest


def with_figures_of(results, name, selection, report):
    """The search with a policy's returns: shares of the dense policy's."""
    archive, shares = Archive(results.folder), {"selection": selection, "report": report}
    for e in results.evaluations:
        if e.snapshot_id == "dense":
            returns = [r * shares[e.purpose] for r in e.returns]
            archive.add_evaluation(dataclasses.replace(e, snapshot_id=name, returns=returns))
    return load(results.folder)


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (1.0, 0.9, "keeps 95 % and 99 % too in the episodes that decide"),
        (0.9, 0.9, "keeps 95 % and 99 % too in the episodes that decide"),
        (1.0, 0.998, "does too"),
    ],
)
def test_a_plain_policy_is_not_said_to_keep_what_its_report_episodes_do_not(
    search, own, other, said
):
    pick = search.confirmed.pick("keeps_95")
    found = with_plain(search, "linear-3", "linear", 3, 0.0)
    found = with_figures_of(found, pick, 1.0, own)
    found = with_figures_of(found, "linear-3", 0.999, other)
    assert found.confirmed.pick("keeps_95") == found.confirmed.pick("keeps_99") == pick
    assert f"A linear policy of 3 weights {said}: return" in verdict(found)


def test_one_that_keeps_what_the_pick_was_only_chosen_for_does_not_do_so_too(search):
    pick = search.confirmed.pick("keeps_95")
    found = with_plain(search, "linear-3", "linear", 3, 0.0)
    found = with_figures_of(found, pick, 1.0, 0.985)
    found = with_figures_of(found, "linear-3", 0.999, 0.995)
    rivals = found.confirmed.rivals.assign(difference_low=-1.0)
    vars(found)["confirmed"] = dataclasses.replace(found.confirmed, rivals=rivals)
    told = verdict(found)
    assert "were chosen for 95 % and 99 % of the dense policy; fresh episodes give less" in told
    assert "A linear policy of 3 weights keeps 95 % and 99 %: return" in told


def test_where_every_fresh_episode_returned_no_number_nobody_is_told_to_go_on(search):
    """Candidates were chosen and played: nothing is left to finish."""
    archive, baselines = Archive(search.folder), ("dense", "random", "constant")
    chosen = {e.snapshot_id for e in search.evaluations} - {*baselines}
    archive.add_event(CANDIDATES, chosen=sorted(chosen))
    for e in search.evaluations:
        if e.snapshot_id in chosen:
            returns = [math.nan] * len(e.returns)
            archive.add_evaluation(dataclasses.replace(e, returns=returns))
    found = load(search.folder)
    said = f"none of the {len(chosen)} re-evaluated policies returned a number in all"
    assert any(note.startswith(said) for note in found.confirmed.notes)
    assert verdict(found).startswith("No re-evaluated policy returned a number in all")
    for text in (verdict(found), *found.confirmed.notes):
        assert not any(wrong in text for wrong in ("resume", "No front yet", "none was", "better"))
    assert len(found.front) == 0
    assert "Provisional" not in markdown(found)


def test_a_front_of_one_point_and_two_missing_baselines_are_told_in_plain_english(search):
    (only,) = search.confirmed.table["snapshot_id"].iloc[:1]
    alone = dataclasses.replace(
        search,
        baseline_records={},
        evaluations=[e for e in search.evaluations if e.snapshot_id == only],
    )
    assert verdict(alone).startswith("The front has 1 point, up to ")
    assert "the random and the dense baseline have no episodes" in verdict(alone)
