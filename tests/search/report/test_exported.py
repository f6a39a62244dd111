"""What policies take out of Ray, wherever a reader looks for it."""

import dataclasses
import json

import pytest

import search
from rllib_ext.export.figures import FIGURES
from search.front.confirmed_front import AS_EXPORTED
from search.report import facts
from search.report.card import choice
from search.report.exported import as_exported, export_notes
from search.report.markdown import markdown
from search.report.page import page
from search.report.terminal import summary
from search.report.verdict import verdict

IN_C = {"c_flash_bytes": 470, "c_latency_us": 0.01574}
IN_ONNX = {"onnx_file_bytes": 2_140, "onnx_latency_us": 9.41}


def with_figures(folder, dense=None, **points):
    """Results whose policies' metadata holds figures."""
    results = search.load(folder)
    named = {s.snapshot_id: s.checkpoint for s in results.records}
    values = {results.confirmed.pick(pick): figures for pick, figures in points.items()}
    for name, figures in values.items():
        path = folder / named[name] / "metadata.json"
        path.write_text(json.dumps(figures))
    if dense:
        path = folder / results.baseline_records["dense"].checkpoint / "metadata.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dense))
    return search.load(folder)


@pytest.fixture
def folder(tmp_path, simulate):
    return simulate(tmp_path / "a search").folder


def test_columns_are_what_an_export_measures():
    assert AS_EXPORTED == FIGURES


def test_the_verdict_names_what_the_pick_takes_and_the_command_that_takes_it_out(folder):
    results = with_figures(
        folder, dense={"c_flash_bytes": 19_317, "c_latency_us": 0.1604}, keeps_95=IN_C
    )
    told = verdict(results)
    assert told.endswith(
        "As exported, what keeps 95 % takes in C 470 bytes of flash and 0.016 µs a decision, "
        "the dense policy 19,317 bytes of flash and 0.16 µs a decision."
    )
    point = results.confirmed.pick("keeps_95")
    typed = f"prunefront export {{}} --point {point} --format c"
    lines = summary(results).splitlines()
    assert lines[:2] == [told, "take it: " + typed.format(f"'{folder}'")]
    for text in (page(results), markdown(results)):
        assert "470 bytes of flash and 0.016 µs" in text
        assert typed.format("'a search'") in text.replace("&#39;", "'")


def test_what_was_only_chosen_for_95_is_not_said_to_keep_it(folder):
    results = with_figures(folder, keeps_95=IN_C)
    table = results.confirmed.table.copy()
    table.loc[table["keeps_95"], "retained"] = 0.94
    vars(results)["confirmed"] = dataclasses.replace(results.confirmed, table=table)
    told = verdict(results)
    assert "what keeps 95 %" not in told
    assert "As exported, what was chosen for 95 % takes in C 470 bytes of flash" in told


def test_tables_and_cards_have_it_too(folder):
    results = with_figures(folder, keeps_95=IN_C)
    point = results.confirmed.pick("keeps_95")
    rows = {row["policy"]: row for row in facts.before_after(results)}
    assert rows[point]["flash in C, bytes"] == "470"
    assert rows[point]["latency in C, µs"] == "0.016"
    assert rows["dense (before)"]["flash in C, bytes"] == "–"
    assert "latency in ONNX, µs" not in rows[point]
    card = next(card for card in choice(results).cards if card.policy == point)
    told = {fact["name"]: fact["figure"] for fact in card.facts}
    assert told["As exported"] == "in C 470 bytes of flash and 0.016 µs a decision"
    front = results.front.set_index("snapshot_id")
    assert front.loc[point, "c_flash_bytes"] == 470
    assert front.loc[point, "c_latency_us"] == 0.01574


def test_without_a_compiler_the_command_takes_the_form_that_was_measured(folder):
    results = with_figures(
        folder,
        dense={"c_flash_bytes": 19_317, "c_latency_us": 0.16},
        keeps_95={**IN_ONNX, "export_note": "measured in ONNX: there is no C compiler"},
    )
    told = verdict(results)
    # Forms aren't compared with each other.
    assert told.endswith("takes in ONNX 2,140 bytes of file and 9.4 µs a decision.")
    assert summary(results).splitlines()[1].endswith("--format onnx")
    count = len(results.front)
    note = f"as exported: measured in ONNX: there is no C compiler (1 of {count} points)"
    assert export_notes(results) == [note]
    assert f"note: {note}" in summary(results)
    assert note[1:] in page(results)
    assert note in markdown(results)


def test_results_without_these_figures_say_nothing_of_them(folder):
    results = search.load(folder)
    assert "As exported" not in verdict(results)
    assert export_notes(results) == []
    assert results.front[list(AS_EXPORTED)].isna().all(axis=None)
    assert "take it: prunefront export" in summary(results)
    assert not [name for name in facts.before_after(results)[0] if " in C" in name]


def test_large_times_are_not_rounded_to_two_digits():
    assert as_exported({"c_latency_us": 1234.5}) == "in C 1,234.5 µs a decision"
    assert as_exported({"c_latency_us": float("nan")}) == ""
