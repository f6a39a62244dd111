"""The report of what `prunefront prune` wrote: nobody is sent where such a folder is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
from plain_charts import plain_page

import search
from rllib_ext.pruning.errors import ResultsError
from search.report import facts
from search.report.health import health
from search.report.markdown import markdown
from search.report.terminal import summary
from search.report.verdict import verdict
from search.store.archive import Archive
from search.store.folder import PRUNED, update_manifest


@pytest.fixture
def folder(simulate, tmp_path):
    """As if each re-evaluated snapshot were a level."""
    place = simulate(tmp_path / "pruned", members=4, segments=3).folder
    played = {e.snapshot_id for e in Archive(place).evaluations()}
    lines = (place / "snapshots.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["snapshot_id"] in played]
    (place / "snapshots.jsonl").write_text("".join(kept))
    update_manifest(place, strategy=PRUNED, budget={})
    return place


def test_no_replay_or_further_search_is_advised(folder):
    results = search.load(folder)
    for text in (plain_page(results), markdown(results), summary(results)):
        assert "prunefront retrain" not in text
        assert "prunefront resume" not in text
    searched = dataclasses.replace(results, manifest={**results.manifest, "strategy": "random"})
    assert "prunefront retrain" in plain_page(searched)


def test_levels_started_from_the_checkpoint(folder):
    results = search.load(folder)
    levels = [dataclasses.replace(s, parent="") for s in results.records]
    rows = facts.recipes(dataclasses.replace(results, records=levels))
    assert {row["started from"] for row in rows} == {"the checkpoint"}


def test_scores_that_decide_nothing_are_not_called_too_noisy(folder):
    results = search.load(folder)
    front = results.confirmed
    near = front.table.assign(return_mean=np.arange(len(front.table)) * 0.1)
    told = {}
    for strategy in ("random", PRUNED):
        found = dataclasses.replace(results, manifest={**results.manifest, "strategy": strategy})
        vars(found)["confirmed"] = dataclasses.replace(front, table=near)
        told[strategy] = any("evaluation.episodes" in sentence for sentence in health(found))
    assert told == {"random": True, PRUNED: False}


def test_levels_that_return_no_number_are_not_to_be_resumed(folder):
    archive = Archive(folder)
    for e in archive.evaluations():
        archive.add_evaluation(dataclasses.replace(e, returns=[math.nan] * len(e.returns)))
    results = search.load(folder)
    assert verdict(results).startswith("No re-evaluated policy returned a number")
    assert not any("resume" in note for note in results.confirmed.notes)


def test_one_without_any_level_is_not_to_be_resumed(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"strategy": PRUNED}))
    with pytest.raises(ResultsError, match="nothing to report yet") as raised:
        search.load(tmp_path)
    assert "resume" not in str(raised.value)
    assert "`prunefront prune` again" in str(raised.value)
