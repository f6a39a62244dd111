import json

import pytest

import search
from search.report import facts
from search.report.verdict import verdict


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def test_the_dense_policy_stands_before_the_front(results):
    rows = facts.before_after(results)
    assert [row["policy"] for row in rows] == ["dense (before)", *results.front["snapshot_id"]]
    assert rows[0]["non-zero weights"] == "4,480"
    assert "× smaller" in rows[1]["size, compressed"]
    assert "multiply-accumulates" not in rows[0]


def test_what_was_measured_on_the_shrunk_policy_gets_its_column(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=3)
    name = search.load(world.folder).front["snapshot_id"].iloc[0]
    path = world.folder / "policies" / name / "metadata.json"
    path.write_text(json.dumps({"policy_bytes": 100, "macs": 1234, "latency_us": 7.5}))
    rows = {row["policy"]: row for row in facts.before_after(search.load(world.folder))}
    assert rows[name]["multiply-accumulates"] == "1,234"
    assert rows[name]["latency in RLlib, µs"] == "7.50"
    assert rows["dense (before)"]["multiply-accumulates"] == "–"
    assert "weights, shrunk" not in rows[name]


def test_a_capped_return_is_labelled_and_gets_no_interval(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=3)
    name = search.load(world.folder).front["snapshot_id"].iloc[0]
    path = world.folder / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["snapshot_id"] == name:
            line["returns"] = [500.0] * len(line["returns"])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = search.load(world.folder)
    row = next(row for row in facts.before_after(results) if row["policy"] == name)
    assert row["95 % interval"].startswith("all 100 episodes returned 500: no interval")
    assert "all 100 episodes returned 500" in verdict(results)


def test_the_hypervolume_states_its_reference(results):
    assert "Reference point: sparsity 0 and retained 0.0000" in facts.reference(results)
