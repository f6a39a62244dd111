import dataclasses

import pytest

import search
from search.report import record


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def test_failures_come_from_events_manifest_and_snapshots(results):
    broken = dataclasses.replace(results.records[0], status="failed")
    other = dataclasses.replace(
        results,
        records=[broken, *results.records[1:]],
        manifest={
            "failures": [
                {"member": 5, "error": "lost its node"},
                {"member": -1, "segment": 0, "error": "NaN loss"},
                "out of disk",
            ]
        },
    )
    rows = record.failures(other)
    assert [row["member"] for row in rows] == ["3", "5", "dense", "–", "0"]
    assert [row["what"] for row in rows][1:4] == ["lost its node", "NaN loss", "out of disk"]
    assert broken.snapshot_id in rows[4]["what"]


def test_a_failure_that_event_and_manifest_tell_is_listed_once(results):
    [event] = [e for e in results.events if e["event"] == "failure"]
    manifest = {"failures": [{"member": 3, "segment": 2, "error": event["error"]}]}
    assert len(record.failures(dataclasses.replace(results, manifest=manifest))) == 1


def test_provenance_says_what_is_not_recorded(results):
    told = dict(record.provenance(results))
    assert told["training env steps"] == "800,000 of 800,000"
    assert told["members"] == "8, 2 at once"
    empty = dict(record.provenance(dataclasses.replace(results, manifest={})))
    assert empty.keys() == told.keys()
    assert empty["versions"] == empty["members"] == empty["status"] == "not recorded"


def test_the_command_can_be_pasted_into_a_shell(results):
    words = {"command": ["prunefront", "search", "a b.yaml", "x=[1, 2]"]}
    command = record.command(dataclasses.replace(results, manifest=words))
    assert command == "prunefront search 'a b.yaml' 'x=[1, 2]'"
    assert record.command(dataclasses.replace(results, manifest={})) == ""
