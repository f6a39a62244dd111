"""The report says how each point gets out of Ray, and what its exports weigh."""

import json

from search.front.results import EXPORT, read_results
from search.report.page import page
from search.report.take_it import take_it


def test_each_point_on_disk_says_what_to_type_the_picks_first(finished):
    results = read_results(finished.folder)
    taken = take_it(results)
    assert {t.policy for t in taken} == set(
        results.front.loc[results.front["policy"] != "", "snapshot_id"]
    )
    assert taken[0].picked
    name = finished.folder.resolve().name
    assert taken[0].command == f"prunefront export {name} --point {taken[0].policy} --format c"
    text = page(results)
    for point in taken:
        assert point.command in text


def test_what_was_exported_is_shown(finished):
    results = read_results(finished.folder)
    point = take_it(results)[0].policy
    contract = {
        "size": {
            "file_bytes": 4237,
            "ram_bytes": {"stack": 12, "input": 16},
            "object": {"Cortex-M4": {"flash": 324, "static_ram": 0}},
        },
        "verified": {"observations": 10_000, "closed_loop": {"equal": True}},
        "latency": {"batches": {"1": {"median_us": 0.01436}}},
    }
    folder = finished.folder / EXPORT / point / "c"
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps(contract))
    broken = finished.folder / EXPORT / point / "onnx"
    broken.mkdir()
    (broken / "policy.json").write_text("{")
    rows = {row["form"]: row for row in take_it(results)[0].exports}
    assert rows["c"]["flash, Cortex-M4"] == "324 B"
    assert rows["c"]["RAM"] == "28 B"
    assert rows["c"]["verified"] == "10,000 observations, equal returns"
    assert "export it again" in rows["onnx"]["file"]
    text = page(results)
    assert "324 B" in text
    assert "10,000 observations, equal returns" in text
