"""What a report says of the goal that a search had: met by whom, or how near one came."""

import dataclasses
import json
import shutil

import pytest

from search.front.read_results import read_results
from search.report.card import choice
from search.report.charts.front import front_chart
from search.report.charts.theme import specification
from search.report.facts import before_after
from search.report.goal_text import goal_sentence, missed_goal
from search.report.take_it import take_the_pick
from search.report.terminal import summary
from search.report.verdict import verdict
from search.runs.export import front_row
from search.store.archive import Archive


@pytest.fixture
def with_goal(finished, tmp_path):
    """The finished search as if it had had a goal: `with_goal(max_weights=100) -> Results`."""

    def made(**goal):
        folder = tmp_path / "results"
        if not folder.is_dir():
            shutil.copytree(finished.folder, folder)
        (folder / "config.yaml").write_text(json.dumps({"name": "cartpole", "goal": goal}))
        return read_results(folder)

    return made


def test_a_goal_that_is_met_is_the_verdict_s_first_sentence(with_goal):
    results = with_goal(max_weights=1_000)
    table = results.front[results.front["nonzero_params"] <= 1_000]
    best = table.sort_values("selection_return").iloc[-1]
    told = verdict(results)
    assert told.startswith(
        f"Goal: at most 1,000 weights – met by {best['snapshot_id']} with "
        f"{best['nonzero_params']:,} weights, which returns "
    )
    # What a report without a goal says stays.
    assert " of the dense policy: return " in told
    assert missed_goal(results) == ""


def test_the_fewest_that_keep_enough_meet_a_goal_of_the_return(with_goal):
    results = with_goal(min_retained=0.8)
    scale = results.confirmed.table
    picked = results.confirmed.pick("goal")
    assert scale["goal"].sum() == 1
    row = scale[scale["snapshot_id"] == picked].iloc[0]
    assert row["nonzero_params"] <= scale.loc[scale["keeps_95"], "nonzero_params"].iloc[0]
    assert f"that keep 80 % of the dense policy – met by {picked} with" in goal_sentence(results)


def test_a_goal_that_is_missed_names_the_nearest(with_goal):
    fewest = with_goal(max_weights=1).front.iloc[-1]
    results = with_goal(max_weights=1)
    told = goal_sentence(results)
    assert f"not met; nearest is {fewest['snapshot_id']} with {fewest['nonzero_params']:,}" in told
    # The usual pick is taken, and that it is another one is said.
    assert results.pick == "keeps_95"
    assert missed_goal(results) == f"{told} Without --point, keeps_95 is taken."
    both = with_goal(max_weights=100_000, min_retained=1.9)
    best = both.front.sort_values("retained").iloc[-1]
    assert f"nearest is {best['snapshot_id']}" in goal_sentence(both)


def test_a_goal_that_only_the_reports_episodes_see_met_is_said_to_be_so(with_goal):
    """Selection episodes decide, and which point is the nearest too."""
    results = with_goal(min_retained=0.95)
    archive = Archive(results.folder)
    for e in results.evaluations:
        if e.purpose == "selection" and e.snapshot_id not in ("dense", "random", "constant"):
            archive.add_evaluation(dataclasses.replace(e, returns=[0.9 * r for r in e.returns]))
    missed = read_results(results.folder)
    assert not missed.front["goal"].any()
    best = missed.front.sort_values("selection_return").iloc[-1]
    assert best["retained"] >= 0.95
    told = goal_sentence(missed)
    assert f"– not met; nearest is {best['snapshot_id']} with" in told
    assert told.endswith(" (enough on these episodes, but too little on those that decide).")


def test_without_a_goal_nothing_is_said_of_one(finished):
    results = read_results(finished.folder)
    assert goal_sentence(results) == missed_goal(results) == ""
    assert not results.front["goal"].any()
    assert "goal" not in verdict(results).lower()
    assert "searched for" not in json.dumps(specification(front_chart(results)))


def test_what_meets_the_goal_is_taken_where_no_point_is_named(with_goal):
    results = with_goal(max_weights=60)
    wanted = results.confirmed.pick("goal")
    assert wanted
    assert wanted != results.confirmed.pick("keeps_95")
    assert results.pick == "goal"
    assert front_row(results, None)["snapshot_id"] == wanted
    assert front_row(results, "goal")["snapshot_id"] == wanted
    assert front_row(results, "keeps_95")["snapshot_id"] == results.confirmed.pick("keeps_95")
    assert f"--point {wanted} " in take_the_pick(results)


@pytest.mark.parametrize("axis", ["weights", "sparsity"])
def test_the_chart_marks_the_goal(with_goal, axis):
    results = with_goal(max_weights=60, min_retained=0.9)
    spec = specification(front_chart(results, axis))
    rows = [row for table in spec["datasets"].values() for row in table]
    total = results.records[0].total_params
    (few,) = {row["weights"] for row in rows if row.get("text") == "goal: at most 60 weights"}
    (sparse,) = {row["sparsity"] for row in rows if row.get("text") == "goal: at most 60 weights"}
    assert (few, sparse) == (60, pytest.approx(1 - 60 / total, rel=1e-5))
    (least,) = {row["y"] for row in rows if row.get("text") == "goal: keeps 90 %"}
    scale = results.confirmed.scale
    assert least == pytest.approx(scale.random + 0.9 * (scale.dense - scale.random), rel=1e-5)


def test_table_and_summary_mark_what_meets_the_goal(with_goal):
    results = with_goal(max_weights=60)
    wanted = results.confirmed.pick("goal")
    assert summary(results).startswith("Goal: at most 60 weights – met by ")
    (row,) = (row for row in before_after(results) if row["policy"] == wanted)
    assert row["picked as"].startswith("meets the goal")


def test_the_card_that_is_shown_first_is_what_meets_the_goal(with_goal):
    """And giving up what the goal allows leads to it."""
    results = with_goal(min_retained=0.8)
    found = choice(results)
    wanted = results.confirmed.pick("goal")
    assert found.cards[found.chosen].policy == wanted
    assert found.start == pytest.approx(20.0)
    assert [card.policy for card in found.cards if card.loss <= found.start][-1] == wanted
    few = choice(with_goal(max_weights=60))
    assert few.cards[few.chosen].weights <= 60
    assert few.cards[few.chosen - 1].weights > 60
