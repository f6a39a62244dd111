import json

import pytest

from benchmarks.shared.audit import evaluation_seeds, lost_baselines, mistakes, repeated_steps
from rllib_ext.member.segment import DENSE
from search.config.seeds import draw
from search.evaluation.under_shift import MEASURED_EPISODES
from search.store.archive import CANDIDATES


def _mistakes(search):
    return mistakes(search.folder, len(search.archive.snapshots()))


def test_a_whole_search_has_no_mistakes(finished):
    assert _mistakes(finished) == []


def _without(file, drop):
    return lambda search: search.change(file, lambda v: None if drop(search, v) else v)


def _changed(file, change):
    return lambda search: search.change(file, lambda v: {**v, **change(search, v)})


def _first(search):
    return search.chosen[0].snapshot_id


SPOILT = {
    "not evaluated on all report seeds": _without(
        "evaluations.jsonl",
        lambda s, v: v["snapshot_id"] == _first(s) and v["purpose"] == "report",
    ),
    "the front is not complete": _without("evaluations.jsonl", lambda s, v: v["purpose"] == "report"),
    "not evaluated on all selection seeds": _changed(
        "evaluations.jsonl",
        lambda s, v: {"seeds": v["seeds"][:-1], "returns": v["returns"][:-1]}
        if v["snapshot_id"] == _first(s) and v["purpose"] == "selection"
        else {},
    ),
    "evaluated, but never chosen": _changed(
        "events.jsonl",
        lambda s, v: {"chosen": v["chosen"][1:]} if v["event"] == CANDIDATES else {},
    ),
    "candidates are none": _without("events.jsonl", lambda s, v: v["event"] == CANDIDATES),
    "were never trained": _without("baselines.jsonl", lambda s, v: v["kind"] == "small_dense"),
    "baselines that are absent": _without("baselines.jsonl", lambda s, v: v["name"] == "constant"),
    "not played under shift": _without("shifts.jsonl", lambda s, v: v["policy"] == "random"),
    "of its horizon": _changed(
        "events.jsonl",
        lambda s, v: {"env_steps": 1_000} if v["event"] == "end" and v["member"] == 2 else {},
    ),
    "segments that began and never ended": _without(
        "events.jsonl", lambda s, v: v["event"] == "end" and v["member"] == 2 and v["segment"] == 1
    ),
    "was given up": lambda s: [
        s.archive.add_event(kind, member=1, segment=50 + i, env_steps=0, **told)
        for i in range(3)
        for kind, told in (
            ("start", {"plan": _plan(s, 50 + i), "hyperparameters": {}}),
            ("failure", {"error": "nan"}),
        )
    ],
    "rows that are there twice": lambda s: s.archive.add_snapshot(s.archive.snapshots()[0]),
    "there is no report": lambda s: (s.folder / "report.html").unlink(),
    "half-written": lambda s: (s.folder / "policies" / "x.part").mkdir(),
    "front.csv is another front": lambda s: (s.folder / "front.csv").write_text("snapshot_id\n"),
    "policies of the front that are gone": lambda s: [
        path.unlink() for path in s.folder.glob("policies/*/masks.npz")
    ],
    "the manifest says": lambda s: s.manifest(status="failed"),
    "the budget was not spent": lambda s: s.manifest(env_steps={"training": 1, "baselines": 1}),
}  # fmt: skip


def _plan(search, segment):
    start = next(e for e in search.archive.events() if e["event"] == "start" and e["member"] == 1)
    return {**start["plan"], "segment": segment}


@pytest.mark.parametrize("told", list(SPOILT))
def test_what_does_not_hold_is_told(finished, told):
    SPOILT[told](finished)
    assert any(told in mistake for mistake in _mistakes(finished))


def test_candidates_are_compared_with_all_snapshots_of_the_first_end(finished):
    best = finished.chosen[-1].snapshot_id

    def spoil(values):
        known = values.get("chosen", [])
        return {**values, "chosen": [n for n in known if n != best]} if known else values

    finished.change("events.jsonl", spoil)
    finished.change("evaluations.jsonl", lambda v: None if v["snapshot_id"] == best else v)
    assert any(m.startswith("candidates are") for m in _mistakes(finished))


def test_a_baseline_whose_training_failed_is_told_and_no_mistake(finished):
    (lost,) = [b for b in finished.archive.baselines() if b.startswith("small_dense")]
    finished.change("baselines.jsonl", lambda v: None if v["name"] == lost else v)
    finished.change("evaluations.jsonl", lambda v: None if v["snapshot_id"] == lost else v)
    finished.archive.add_event("failure", member=lost, segment=0, env_steps=0, error="it died")
    assert lost_baselines(finished.archive) == {lost: "it died"}
    assert _mistakes(finished) == []


def test_a_baseline_that_failed_and_was_trained_later_is_not_lost(finished):
    (name,) = [b for b in finished.archive.baselines() if b.startswith("small_dense")]
    finished.archive.add_event("failure", member=name, segment=0, env_steps=0, error="it died")
    assert lost_baselines(finished.archive) == {}


def test_steps_that_were_trained_again_are_counted():
    def event(kind, member, env_steps, segment=0, **more):
        return {"event": kind, "member": member, "segment": segment, "env_steps": env_steps, **more}

    events = [
        event("start", 0, 0),
        event("retry", 0, 300),
        event("lost", 0, 200),
        event("start", 0, 0),
        event("end", 0, 1_000),
        event("start", 0, 1_000, segment=1),
        event("failure", 0, 1_400, segment=1),
        event("failure", "small_dense-40", 0),
        {"event": CANDIDATES, "chosen": []},
    ]
    assert repeated_steps(events) == (300 + 200, 400)


def test_episodes_that_measure_noise_are_evaluation(finished):
    seeds = evaluation_seeds(finished.config, finished.archive.events())
    assert set(draw(finished.config.seed, "baseline", MEASURED_EPISODES, 2)) <= seeds
    assert set(draw(finished.config.seed, "search", 2, DENSE)) <= seeds
    starts = [json.loads(line) for line in (finished.folder / "events.jsonl").open()]
    training = {e["plan"]["seed"] for e in starts if e["event"] == "start"}
    assert not training & seeds
