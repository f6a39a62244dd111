"""The report says how each point gets out of Ray, and what its exports weigh."""

import json
import shutil

from search.front.read_results import read_results
from search.front.results import EXPORT
from search.report.card import choice
from search.report.page import page


def test_each_point_on_disk_says_what_to_type(finished):
    results = read_results(finished.folder)
    cards = choice(results).cards
    assert [card.policy for card in cards] == list(results.front["snapshot_id"])
    name = finished.folder.resolve().name
    text = page(results)
    for card in cards:
        assert card.command == f"prunefront export {name} --point {card.policy} --format c"
        assert card.command in text


def test_what_was_exported_is_shown(finished, tmp_path):
    copied = shutil.copytree(finished.folder, tmp_path / finished.folder.name)
    results = read_results(copied)
    point = results.confirmed.pick("keeps_95")
    contract = {
        "size": {
            "file_bytes": 4237,
            "ram_bytes": {"stack": 12, "input": 16},
            "object": {"Cortex-M4": {"flash": 324, "static_ram": 0}},
        },
        "verified": {"observations": 10_000, "closed_loop": {"equal": True}},
        "latency": {"batches": {"1": {"median_us": 0.01436}}},
    }
    folder = copied / EXPORT / point / "c"
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps(contract))
    broken = copied / EXPORT / point / "onnx"
    broken.mkdir()
    (broken / "policy.json").write_text("{")
    rows = {
        row["form"]: row
        for row in next(c for c in choice(results).cards if c.policy == point).exports
    }
    assert rows["c"]["flash, Cortex-M4"] == "324 B"
    assert rows["c"]["RAM"] == "28 B"
    assert rows["c"]["verified"] == "10,000 observations, equal returns"
    assert "export it again" in rows["onnx"]["file"]
    text = page(results)
    assert "324 B" in text
    assert "10,000 observations, equal returns" in text
