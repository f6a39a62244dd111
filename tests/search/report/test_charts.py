import dataclasses

import pytest
import vl_convert

import search
from search.front.format import marks, number, percent, schedule_text
from search.front.segment_gains import pruning_of
from search.front.thinned import thinned
from search.report.charts.data import lineage_points, training_points
from search.report.charts.parallel import axes
from search.report.charts.theme import COLORS, specification, with_variables
from search.report.page import _charts


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def words_of(chart):
    """Every text that the drawn chart shows."""
    return vl_convert.vegalite_to_svg(chart.to_dict())


def test_every_chart_of_a_report_is_vega_lite_by_its_schema(results):
    charts = _charts(results)
    assert len(charts) == 12
    for chart in charts.values():
        assert chart.to_dict(validate=True) == specification(chart)


@pytest.mark.parametrize("axis", ["weights", "sparsity"])
def test_the_front_names_its_picks_and_baselines(results, axis):
    drawn = words_of(results.front_chart(axis=axis))
    picked = [text for row in results.front.to_dict("records") if (text := marks(row))]
    assert len(picked) >= 2
    for text in picked:
        assert f">{text.replace('95 % and 99 %', '95, 99 %')}</text>" in drawn
    returns = results.baselines.set_index("name")["return_mean"].map(number)
    assert f">dense {returns['dense']}</text>" in drawn
    assert f">random {returns['random']} · constant {returns['constant']}</text>" in drawn


def test_each_front_point_hovers_with_recipe_and_lineage(results):
    spec = results.front_chart().to_dict()
    rows = [row for table in spec["datasets"].values() for row in table if "lineage" in row]
    assert {row["snapshot_id"] for row in rows} >= set(results.front["snapshot_id"])
    assert all("final_sparsity = " in row["hyperparameters"] for row in rows)
    assert any(" ← " in row["lineage"] for row in rows)


def test_copies_of_other_members_are_marked_with_their_donor(results):
    donors = {e["donor"] for e in results.events if e["event"] == "exploit"}
    assert set(training_points(results)["donor"]) - {""} == donors
    bars, copies = lineage_points(results)
    assert set(copies["donor"]) == donors
    assert len(bars) == 8 * 5


def test_a_line_joins_only_what_follows_on_the_clock_and_hovers_with_its_schedule(results):
    points = training_points(results)
    for _, own in points.groupby("strand", sort=False):
        assert own["env_steps"].is_monotonic_increasing
        assert own["member"].nunique() == 1
    back = [dataclasses.replace(s, env_steps=s.env_steps // 2) for s in results.records[-3:]]
    later = [dataclasses.replace(s, snapshot_id=f"again-{s.snapshot_id}") for s in back]
    sent = training_points(dataclasses.replace(results, records=[*results.records, *later]))
    assert sent["strand"].nunique() == points["strand"].nunique() + 1
    assert points["schedule"].str.match(r"(cubic|linear) to \d").all()


def test_a_schedule_is_told_in_words():
    values = {"pruning.schedule": "cubic", "pruning.final_sparsity": 0.9965, "pruning.end": 0.55}
    assert schedule_text(values) == "cubic to 99.65 %"
    assert schedule_text({**values, "pruning.begin": 0.1}).endswith(", 0.1 to 0.55 of the horizon")
    assert schedule_text({}) == ""
    assert pruning_of("pruning: {begin: 0.1}") == {"pruning.begin": 0.1}
    assert pruning_of("[") == pruning_of("name: x") == {}


def test_the_hypervolume_has_a_clock_of_steps_and_one_of_minutes_and_neither_turns_back(results):
    points = results.hypervolume
    assert points["minutes"].iloc[-1] == results.records[-1].wall_time / 60
    for name in ("env_steps", "minutes", "over_decades", "over_sparsity"):
        assert points[name].is_monotonic_increasing
    assert "wall-clock, minutes" in words_of(results.hypervolume_chart(clock="minutes"))


def test_bars_that_lead_to_the_front_are_the_points_and_their_ancestors(results):
    bars, _ = lineage_points(results)
    strong = set(map(tuple, bars.loc[bars["leads"], ["member", "segment"]].to_numpy()))
    by_id = {s.snapshot_id: s for s in results.records}
    for name in results.front["snapshot_id"]:
        while name:
            assert (by_id[name].member, by_id[name].segment) in strong
            name = by_id[name].parent


def test_without_a_scale_only_the_hypervolume_is_missing(results, tmp_path):
    alone = dataclasses.replace(
        results,
        baseline_records={},
        evaluations=[e for e in results.evaluations if e.snapshot_id not in ("dense", "random")],
    )
    assert alone.confirmed.scale.note
    assert words_of(alone.front_chart())


@pytest.mark.parametrize("least", [478.0, -1234.0])
def test_no_front_point_is_cut_off_where_scores_lie_far_below(results, least):
    """Such as where no random policy was measured: the axis begins near the worst of the front."""
    known = {n: b for n, b in results.baseline_records.items() if n == "dense"}
    played = [
        dataclasses.replace(e, returns=[least + 10.0 + i % 2 for i in range(len(e.seeds))])
        for e in results.evaluations
        if e.snapshot_id not in ("random", "constant")
    ]
    worst = results.front["snapshot_id"].iloc[-1]
    played = [
        dataclasses.replace(e, returns=[least] * len(e.seeds)) if e.snapshot_id == worst else e
        for e in played
    ]
    records = [
        dataclasses.replace(s, return_mean=least + (20.0 if i else -400.0))
        for i, s in enumerate(results.records)
    ]
    narrow = dataclasses.replace(
        results, baseline_records=known, evaluations=played, records=records
    )
    assert narrow.front["return_mean"].min() == least
    spec = narrow.front_chart().to_dict()
    scales = [layer["encoding"].get("y", {}).get("scale", {}) for layer in spec["layer"]]
    domains = [scale["domain"] for scale in scales if "domain" in scale]
    assert domains
    assert all(low < least < least + 11.0 < high for low, high in domains)


@pytest.mark.parametrize("sparsity", [0.9978, 0.99996, 0.9999962])
def test_an_axis_of_sparsity_ends_where_the_sparsest_does(results, sparsity):
    records = [dataclasses.replace(s, total_params=10**7) for s in results.records[:2]]
    records[1] = dataclasses.replace(records[1], sparsity=sparsity)
    labels = axes(results, records)[-1].labels
    assert labels[-1] == (1.0, percent(sparsity))


def test_thinning_keeps_both_ends():
    assert thinned(5, 10) == [0, 1, 2, 3, 4]
    assert thinned(0, 10) == []
    assert thinned(1000, 5)[0] == 0
    assert thinned(1000, 5)[-1] == 999
    assert len(thinned(1000, 5)) == 5


def test_colours_become_variables_with_the_light_colour_as_fallback():
    spec = {"mark": {"color": COLORS["front"]}, "range": [COLORS["pick"], "red"]}
    assert with_variables(spec) == {
        "mark": {"color": f"var(--front, {COLORS['front']})"},
        "range": [f"var(--pick, {COLORS['pick']})", "red"],
    }
