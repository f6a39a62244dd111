"""Trained baselines in the front's chart, table and Markdown."""

import dataclasses

import pytest
import vl_convert

from search.config.baseline_kinds import TITLES
from search.report import facts
from search.report.charts.baseline_marks import SHAPES, baseline_marks
from search.report.markdown import markdown
from search.report.notebook import load
from search.store.archive import Archive, Baseline, Evaluation


@pytest.fixture(scope="module")
def compared(simulate, tmp_path_factory):
    """A finished search with random masks and a small dense network of fewer weights than all."""
    folder = simulate(tmp_path_factory.mktemp("compared") / "cartpole").folder
    archive = Archive(folder)
    played = next(e for e in archive.evaluations() if e.purpose == "report")
    for name, kind, weights, whole, mean in (
        ("random_masks-45", "random_masks", 45, 4480, 150.0),
        ("small_dense-2", "small_dense", 2, 2, 90.0),
    ):
        archive.add_baseline(
            Baseline(
                name=name,
                description=f"about {kind}",
                env_steps=100_000,
                wall_time=9.0,
                search_return=mean,
                sparsity=1 - weights / whole,
                nonzero_params=weights,
                total_params=whole,
                kind=kind,
                level="m00-s000-i0001",
            )
        )
        for purpose in ("selection", "report"):
            returns = [mean + (10 if i % 2 else -10) for i in range(len(played.seeds))]
            archive.add_evaluation(
                Evaluation(
                    snapshot_id=name,
                    purpose=purpose,
                    seeds=played.seeds,
                    returns=returns,
                    lengths=[1] * len(returns),
                )
            )
    return load(folder)


def marked(chart):
    """Rows of the chart's data that are trained baselines."""
    tables = chart.to_dict()["datasets"].values()
    return {row["made"]: row for table in tables for row in table if "made" in row}


@pytest.mark.parametrize("axis", ["weights", "sparsity"])
def test_each_kind_has_a_mark_in_the_legend_and_no_rule(compared, axis):
    chart = compared.front_chart(axis=axis)
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    assert ">random masks</text>" in drawn
    assert ">small dense network</text>" in drawn
    assert ">trained once, then pruned</text>" not in drawn
    assert "random_masks-45 " not in drawn
    rows = marked(chart)
    assert set(rows) == {"random masks", "small dense network"}
    # Where its weights would be of the searched network's, though all of its own are there.
    assert rows["small dense network"]["sparsity"] == pytest.approx(1 - 2 / 4480, abs=1e-4)
    assert rows["small dense network"]["return_mean"] == 90.0
    assert rows["random masks"]["score"].startswith("150 (")
    assert rows["random masks"]["level"] == "m00-s000-i0001"


def test_the_axis_reaches_to_what_has_fewer_weights_than_every_snapshot(compared):
    spec = compared.front_chart(axis="weights").to_dict()
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in spec["layer"]
        if "scale" in layer.get("encoding", {}).get("x", {})
    ]
    assert domains
    assert all(low < 2 for low, _ in domains)


def test_without_trained_baselines_there_are_no_marks(finished, compared):
    results = load(finished.folder)
    assert baseline_marks(results, "weights:Q") == []
    lacking = dataclasses.replace(compared, evaluations=[])
    assert baseline_marks(lacking, "weights:Q") == []
    assert len(set(SHAPES)) == len(TITLES)


def test_the_baselines_table_tells_their_weights_return_and_retained(compared):
    rows = {row["baseline"]: row for row in facts.baselines(compared)}
    assert rows["random_masks-45"]["return"] == "150"
    assert rows["random_masks-45"]["size"] == "45 weights"
    assert rows["random"]["size"] == "–"
    scale = compared.confirmed.scale
    kept = (150 - scale.random) / (scale.dense - scale.random)
    assert float(rows["random_masks-45"]["retained"]) == pytest.approx(kept, abs=0.005)
    assert "| small_dense-2 | about small_dense | 90 |" in markdown(compared)
