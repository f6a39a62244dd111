import dataclasses
import math

import numpy as np
import pytest

import search
from search.front.segment_gains import scales, segment_gains, warped
from search.report.charts.parallel import ABSENT, LINES, axes, drawn_segments

CONFIG = """
search:
  space:
    training.lr: {type: float, low: 1.0e-5, high: 1.0e-2, scale: log}
    pruning.final_sparsity: {type: float, low: 0.5, high: 0.99, scale: log_density}
    training.num_epochs: {type: int, low: 1, high: 30, log: true}
    pruning.schedule: {type: choice, choices: [cubic, plateau]}
    pruning.begin: {type: float, low: 0.0, high: 0.5}
"""


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def recorded(results, gain, *, members=12, segments=12, seed=0):
    """A search whose segments gain what `gain(recipe, progress, start)` says, plus noise."""
    rng = np.random.default_rng(seed)
    template = results.records[0]
    records = []
    for member in range(members):
        parent, start, sparsity = "", 22.0, 0.0
        for segment in range(segments):
            schedule = str(rng.choice(["cubic", "plateau"]))
            recipe = {
                "training.lr": float(10 ** rng.uniform(-5, -2)),
                # Follows progress, as hyperparameters of a schedule do, and does nothing itself.
                "pruning.begin": segment / segments + 0.1 * rng.uniform(),
                "pruning.schedule": schedule,
            }
            if schedule == "plateau":
                recipe["pruning.patience"] = int(rng.integers(1, 20))
            gained, pruned = gain(recipe, segment / segments, start)
            start += gained + rng.normal(0, 3)
            sparsity = 1 - (1 - sparsity) * 10**-pruned
            name = f"m{member:02d}-s{segment:03d}"
            records.append(
                dataclasses.replace(
                    template, snapshot_id=name, member=member, segment=segment, parent=parent,
                    return_mean=start, sparsity=sparsity, env_steps=1000 * (segment + 1),
                    total_params=10**9, hyperparameters=recipe, status="ok",
                )
            )  # fmt: skip
            parent = name
    return dataclasses.replace(results, records=records, config=CONFIG)


def score(found, name, gain="return"):
    table = found.table
    return table[(table["hyperparameter"] == name) & (table["gain"] == gain)].iloc[0]


def test_what_acts_is_important_and_what_only_follows_progress_is_not(results):
    def gain(recipe, progress, start):
        return 40 * (1 - progress) + 8 * math.log10(recipe["training.lr"]), 0.05

    found = recorded(results, gain).importance
    lr, begin = score(found, "training.lr"), score(found, "pruning.begin")
    assert lr["low"] > 0.1
    assert lr["effect"].startswith("+")
    assert begin["low"] < 0.01
    assert abs(begin["importance"]) < 0.02
    alone, together = found.explained["return"]
    assert 0.3 < alone < together - 0.1


def test_noise_has_no_importance(results):
    found = recorded(results, lambda recipe, progress, start: (0.0, 0.0), segments=20).importance
    assert found.table["importance"].abs().max() < 0.03
    assert set(found.table["gain"]) == {"return"}


def test_a_conditional_hyperparameter_is_judged_where_it_acts(results):
    def gain(recipe, progress, start):
        return 3.0 * recipe.get("pruning.patience", 10), 0.01 * (
            recipe["pruning.schedule"] == "plateau"
        )

    searched = recorded(results, gain)
    found = searched.importance
    patience = score(found, "pruning.patience")
    assert patience["group"] == "schedule = plateau"
    acting = sum("pruning.patience" in s.hyperparameters for s in searched.records)
    assert patience["segments"] == acting < len(searched.records)
    assert patience["low"] > 0.3
    schedule = score(found, "pruning.schedule", "decades of density")
    assert schedule["importance"] > 0.5
    assert schedule["effect"] == "+0.00989 with plateau"


def test_the_same_archive_gives_the_same_importance(results):
    first, second = (dataclasses.replace(results).importance for _ in range(2))
    assert first.table.equals(second.table)


def test_too_few_segments_are_said_to_be_too_few(results):
    few = dataclasses.replace(results, records=[s for s in results.records if s.member < 2])
    found = few.importance
    assert not len(found.table)
    assert "too few" in found.notes[0]


def test_gains_start_at_the_parent_or_at_the_random_policy(results):
    gains, recipes = segment_gains(
        results.records, results.baseline_records["random"].search_return
    )
    by_id = {s.snapshot_id: s for s in results.records}
    assert len(gains) == len(recipes) == 8 * 5
    for row in gains.to_dict("records"):
        end = by_id[row["snapshot_id"]]
        start = by_id[end.parent].return_mean if end.parent else 22.0
        assert row["gain_return"] == pytest.approx(end.return_mean - start)
    births = gains[gains["segment"] == 0]
    assert (births["start_decades"] == 0).all()
    assert (births["progress"] == 0).all()


def test_scales_come_from_the_configuration():
    assert scales(CONFIG) == {
        "training.lr": "log",
        "pruning.final_sparsity": "log_density",
        "training.num_epochs": "log",
        "pruning.schedule": "choice",
        "pruning.begin": "linear",
    }
    for broken in ("", "search: 3", "search: {space: [1]}", "a: [", "- 1"):
        assert scales(broken) == {}


def test_values_are_warped_where_the_scale_exists():
    assert warped([1e-3, 1e-1], "log") == pytest.approx([-3, -1])
    assert warped([0.9, 0.999], "log_density") == pytest.approx([1, 3])
    assert warped([0.0, 1.0], "log") == pytest.approx([0, 1])


def test_parallel_axes_hold_every_value_on_its_scale(results):
    searched = recorded(results, lambda *_: (10.0, 0.1))
    shown, segments = drawn_segments(searched)
    assert len(shown) == segments == 144
    drawn = {axis.title: axis for axis in axes(searched, shown)}
    assert list(drawn) == [
        "begin", "patience", "schedule", "lr (log)", "return", "sparsity (log)"
    ]  # fmt: skip
    rates = np.log10([s.hyperparameters["training.lr"] for s in shown])
    expected = (rates - rates.min()) / np.ptp(rates)
    assert drawn["lr (log)"].places == pytest.approx(expected, abs=1e-4)
    for snapshot, place in zip(shown, drawn["patience"].places, strict=True):
        assert (place == ABSENT) == ("pruning.patience" not in snapshot.hyperparameters)
    assert drawn["schedule"].labels == [(0.0, "cubic"), (1.0, "plateau")]
    assert drawn["return"].labels[0][1] == f"{min(s.return_mean for s in shown):.4g}"


def test_parallel_coordinates_of_a_long_search_keep_the_front(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=20, segments=20, per_segment=2, fresh=10)
    long = search.load(world.folder)
    shown, segments = drawn_segments(long)
    assert segments == 400
    assert len(shown) <= LINES
    fathers = {(s.member, s.segment) for s in shown}
    by_id = {s.snapshot_id: s for s in long.records}
    for name in long.front["snapshot_id"]:
        assert (by_id[name].member, by_id[name].segment) in fathers
    assert f"{len(shown):,} of 400 segments" in long.parallel_chart().to_dict()["description"]
