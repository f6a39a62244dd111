"""What speaks against a headline is said, and nothing is said where nothing does."""

import dataclasses

import numpy as np
import pytest
from plain_charts import plain_page

import search
from search.front.format import number
from search.report.health import health, weak_dense
from search.report.markdown import markdown
from search.report.take_it import take_the_pick
from search.report.terminal import summary
from search.report.verdict import verdict


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def changed(results, **columns):
    """With other figures on the front, a value a row or one for all."""
    front = results.confirmed
    found = dataclasses.replace(results)
    found.__dict__["confirmed"] = dataclasses.replace(front, table=front.table.assign(**columns))
    return found


def with_dense(results, returns):
    """With a dense baseline that returned something else on all fresh seeds."""
    evaluations = [
        dataclasses.replace(e, returns=[returns + (i % 3) for i in range(len(e.seeds))])
        if e.snapshot_id == "dense"
        else e
        for e in results.evaluations
    ]
    return dataclasses.replace(results, evaluations=evaluations)


def test_a_dense_baseline_far_below_what_members_reached_is_said_in_the_headline(results):
    assert weak_dense(results) == ""
    weak = with_dense(results, 260.0)
    best = weak.front["return_mean"].max()
    told = weak_dense(weak)
    assert told.startswith("But the dense baseline is weak: it returns 261")
    assert f"{best:.1f}" in told
    assert told in verdict(weak)
    # To keep a share of it is no merit, so that the policy to take is the one at the knee.
    assert (results.pick, weak.pick) == ("keeps_95", "knee")
    knee = weak.front.set_index("snapshot_id").loc[weak.confirmed.pick("knee")]
    assert verdict(weak).startswith(f"The front's knee is at {knee['nonzero_params']:,} of ")
    assert f"return {number(knee['return_mean'])}" in verdict(weak)
    assert f"--point {knee.name} " in take_the_pick(weak)
    assert weak.points.set_index("snapshot_id")["keeps_95"].any()
    for text in (plain_page(weak), markdown(weak), summary(weak)):
        assert "the dense baseline is weak" in text


def test_a_dense_baseline_no_better_than_one_action_is_called_untrained(results):
    alike = [
        dataclasses.replace(e, returns=[250.0 + i % 3 for i in range(len(e.seeds))])
        if e.snapshot_id == "constant"
        else e
        for e in results.evaluations
    ]
    untrained = with_dense(dataclasses.replace(results, evaluations=alike), 200.0)
    assert "is not trained: its return of 201" in weak_dense(untrained)


def test_one_that_is_no_better_than_random_is_left_to_the_scales_own_note(results):
    lost = with_dense(results, 20.0)
    assert "is not clearly above the random policy" in verdict(lost)
    assert weak_dense(lost) == ""


def test_a_search_that_ended_early_says_how_far_it_came(results):
    manifest = results.manifest
    short = {"training": 0.3 * manifest["budget"]["env_steps"]}
    cut = dataclasses.replace(results, manifest={**manifest, "env_steps": short})
    assert any("cut short: it ended after 240,000 of 800,000" in told for told in health(cut))
    timed = {**cut.manifest, "budget": {**manifest["budget"], "seconds": 60.0}}
    cut = dataclasses.replace(cut, manifest=timed)
    assert any("when its 60 seconds were over" in told for told in health(cut))
    # Of one that has not ended the front's own note speaks.
    unfinished = dataclasses.replace(cut, manifest={**cut.manifest, "status": "interrupted"})
    assert not any("cut short" in told for told in health(unfinished))
    assert not any("cut short" in told for told in health(results))


def test_failures_are_counted(results):
    assert any(told.startswith("1 failure is recorded") for told in health(results))
    assert not any("recorded" in told for told in health(dataclasses.replace(results, events=[])))


def test_a_baseline_that_failed_is_no_member(results):
    failed = [
        {"event": "failure", "member": f"tree-{n}", "segment": 0, "error": "?"} for n in (4, 9)
    ]
    told = health(dataclasses.replace(results, events=failed))
    assert any(sentence.startswith("The training of 2 baselines failed: the") for sentence in told)
    assert not any("taught the search nothing" in sentence for sentence in told)


def test_a_front_that_still_moves_at_the_end_of_the_budget_says_so(results):
    horizon = results.manifest["budget"]["horizon"]
    names = set(results.front["snapshot_id"])

    def moved(share):
        records = [
            dataclasses.replace(s, env_steps=int(share * horizon)) if s.snapshot_id in names else s
            for s in results.records
        ]
        return dataclasses.replace(results, records=records)

    def grown(found, shares):
        curve = found.hypervolume.iloc[: len(shares)].assign(
            over_decades=shares, env_steps=np.linspace(0.0, 100.0, len(shares))
        )
        found.__dict__["hypervolume"] = curve
        return any("still improving" in told for told in health(found))

    def advised(**manifest):
        found = grown_at_the_end(moved(1.0), **manifest)
        return next(told for told in health(found) if "still improving" in told)

    def grown_at_the_end(found, **manifest):
        found = dataclasses.replace(found, manifest={**found.manifest, **manifest})
        curve = found.hypervolume.iloc[:2].assign(over_decades=[1.0, 2.0], env_steps=[0.0, 100.0])
        found.__dict__["hypervolume"] = curve
        return found

    budget = results.manifest["budget"]
    assert advised().endswith(": prunefront resume DIR budget.env_steps=…")
    # More of what it had enough of would not extend it.
    timed = {"budget": {**budget, "seconds": 60.0}, "env_steps": {"training": 1_000}}
    assert advised(**timed).endswith(": prunefront resume DIR budget.seconds=…")
    assert "resume" not in advised(strategy="train_then_prune")
    rising, level = [0.5, 1.0, 1.5, 2.0], [0.5, 1.0, 2.0, 2.0]
    assert grown(moved(1.0), rising)
    assert not grown(moved(1.0), level + level[-1:] * 20)
    assert not grown(moved(0.5), rising)


def test_a_pick_that_its_own_interval_does_not_bear_out_is_not_settled(results):
    open_ = changed(results, retained_ci_low=0.9, retained_ci_high=1.02)
    told = [sentence for sentence in health(open_) if "is not settled" in sentence]
    picks = {results.confirmed.pick(name) for name in ("keeps_95", "keeps_99")}
    assert len(told) == 2
    assert all(any(pick in sentence for pick in picks) for sentence in told)
    assert "between 0.90 and 1.02" in told[0]
    sure = changed(results, retained_ci_low=0.995)
    assert not any("is not settled" in sentence for sentence in health(sure))


def test_scores_that_are_noisier_than_what_they_tell_apart_are_named(results):
    near = np.arange(len(results.front)) * 0.1
    close = health(changed(results, return_mean=near))
    assert any("noisier than what it decides" in told for told in close)
    apart = health(changed(results, return_mean=near * 1e5))
    assert not any("noisier" in told for told in apart)


def test_a_weak_dense_baseline_is_said_where_no_return_of_the_best_varies(results):
    """Such as on CartPole, where a good policy reaches the cap in every episode."""
    weak = with_dense(results, 260.0)
    points = set(weak.points["snapshot_id"])
    capped = dataclasses.replace(
        weak,
        evaluations=[
            dataclasses.replace(e, returns=[500.0] * len(e.seeds)) if e.snapshot_id in points else e
            for e in weak.evaluations
        ],
    )
    best = capped.front.iloc[0]
    assert (best["return_mean"], np.isnan(best["retained_ci_low"])) == (500.0, True)
    assert "the dense baseline is weak: it returns 261.0, and" in verdict(capped)


def test_a_dense_baseline_that_was_trained_again_is_no_member(results):
    again = [{"event": "retry", "member": -1, "segment": 0, "env_steps": 9, "error": "?"}]
    assert not any("fail" in told for told in health(dataclasses.replace(results, events=again)))


def test_a_segment_that_failed_once_counts_once(results):
    """It tells of itself as an event, and by each of its evaluations that returned no number."""
    lost = [
        dataclasses.replace(s, return_mean=np.nan) if (s.member, s.segment) == (3, 2) else s
        for s in results.records
    ]
    told = health(dataclasses.replace(results, records=lost))
    assert any(sentence.startswith("1 failure is recorded") for sentence in told)


def test_an_interval_of_selection_episodes_is_not_called_the_reports(results):
    chose = [e for e in results.evaluations if e.purpose == "selection"]
    alone = changed(dataclasses.replace(results, evaluations=chose), retained_ci_low=0.9)
    (told, *_) = [sentence for sentence in health(alone) if "is not settled" in sentence]
    assert alone.confirmed.figures == "selection"
    assert "its selection episodes say between 0.90 and" in told
