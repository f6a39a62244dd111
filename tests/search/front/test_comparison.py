import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import search
from rllib_ext.pruning.errors import ResultsError
from search.cli.main import cli
from search.front.attainment import attained
from search.front.comparison import common_scale, compare, front_areas, group_names
from search.front.intervals import interquartile_mean
from search.front.retained import Scale
from search.report.charts.comparison import fronts_chart
from search.report.comparison_page import comparison_text, group_rows
from search.report.write import write_comparison
from search.store.archive import CANDIDATES, Archive, Baseline


def configured(world, name="cartpole", strategy="pareto_pbt", seed=0, **manifest):
    """Gives a simulated search its configuration and seed."""
    config = f"name: {name}\nsearch:\n  strategy: {strategy}\nseed: {seed}\n"
    (world.folder / "config.yaml").write_text(config)
    path = world.folder / "manifest.json"
    values = {**json.loads(path.read_text()), "seed": seed, **manifest}
    path.write_text(json.dumps(values))
    return world.folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory, simulate):
    root = tmp_path_factory.mktemp("compared")
    found = [
        configured(simulate(root / f"pbt{seed}", seed=seed, members=6, segments=3), seed=seed)
        for seed in range(3)
    ]
    random = simulate(root / "random0", seed=7, members=6, segments=3)
    return [*found, configured(random, strategy="random")]


@pytest.fixture(scope="module")
def comparison(folders):
    return compare([search.load(folder) for folder in folders])


def test_repeats_are_one_group_and_other_settings_another(comparison):
    assert list(comparison.groups["group"]) == [
        "cartpole, strategy = pareto_pbt", "cartpole, strategy = random"
    ]  # fmt: skip
    assert list(comparison.groups["searches"]) == [3, 1]
    assert list(comparison.searches["folder"]) == ["pbt0", "pbt1", "pbt2", "random0"]
    assert comparison.notes == ()


def test_who_watched_a_repeat_makes_no_group_of_its_own(folders, tmp_path):
    watched = shutil.copytree(folders[1], tmp_path / "watched")
    with (watched / "config.yaml").open("a") as config:
        config.write('trackers: {mlflow: {tracking_uri: "sqlite:///mlflow.db"}}\n')
    assert group_names([search.load(folders[0]), search.load(watched)]) == ["cartpole"] * 2


def _with_dense_returns(folder, copy, least):
    """A copy of a search whose dense baseline returned from `least` to `least` + 2."""
    shutil.copytree(folder, copy)
    archive = Archive(copy)
    for e in archive.evaluations():
        if e.snapshot_id == "dense":
            returns = [least + i % 3 for i in range(len(e.returns))]
            archive.add_evaluation(dataclasses.replace(e, returns=returns))
    return copy


def test_a_search_whose_dense_baseline_is_no_measure_is_told_apart_from_one_that_keeps_nothing(
    folders, tmp_path
):
    untrained = _with_dense_returns(folders[3], tmp_path / "untrained", 20.0)
    found = compare([search.load(folders[0]), search.load(untrained)])
    assert found.searches["measured"].tolist() == [True, False]
    (note,) = found.notes
    assert note.startswith(
        "untrained is measured on the others' baselines alone: retained is undef"
    )
    assert "no policy of cartpole, strategy = random" not in comparison_text(found)


def test_that_a_dense_baseline_is_weak_is_noted(folders, tmp_path):
    weak = _with_dense_returns(folders[1], tmp_path / "weak", 260.0)
    found = compare([search.load(folders[0]), search.load(weak)])
    (note,) = found.notes
    assert note.startswith(
        "the dense baseline of weak is weak: members that were pruned reached far"
    )


def test_only_repeats_get_an_interval_and_it_holds_their_mean(comparison):
    repeated, single = comparison.groups.to_dict("records")
    for area in ("over_decades", "over_sparsity"):
        own = comparison.searches[comparison.searches["group"] == repeated["group"]][area]
        assert repeated[area] == pytest.approx(own.mean())
        assert own.min() <= repeated[f"{area}_low"] < repeated[area]
        assert repeated[area] < repeated[f"{area}_high"] <= own.max()
        assert math.isnan(single[f"{area}_low"])


def test_the_scale_is_the_mean_of_the_searches_own(folders, comparison):
    scales = [search.load(folder).confirmed.scale for folder in folders]
    assert comparison.scale.dense == pytest.approx(np.mean([s.dense for s in scales]))
    assert comparison.scale.random == pytest.approx(np.mean([s.random for s in scales]))
    unknown = common_scale([Scale(note="retained is unknown"), *scales])
    assert unknown == comparison.scale
    assert common_scale([Scale(note="a"), Scale(note="b")]).note


def test_areas_are_rectangles_above_the_reference():
    scale = Scale(random=0.0, dense=100.0, floor=20.0)
    areas = front_areas([120.0, 70.0], [0.9, 0.99], [1000, 1000], scale)
    assert areas["over_decades"] == pytest.approx(1.0 * (1.2 - 0.2) + 1.0 * (0.7 - 0.2))
    assert areas["over_sparsity"] == pytest.approx(0.9 * 1.0 + 0.09 * 0.5)
    assert math.isnan(front_areas([1.0], [0.5], [10], Scale(note="?"))["over_decades"])


def test_the_interquartile_mean_cuts_a_quarter_of_each_end():
    assert interquartile_mean([3.0, 1.0, 2.0]) == 2.0
    assert interquartile_mean([0.0, 1.0, 3.0, 100.0]) == 2.0
    assert interquartile_mean([[0.0, 1.0, 3.0, 100.0], [5.0] * 4]).tolist() == [2.0, 5.0]


def test_a_front_attains_the_report_score_of_the_policy_that_selection_rates_best():
    weights, at = np.array([100.0, 30.0, 10.0]), np.array([5.0, 10.0, 30.0, 99.0, 100.0])
    selection, report = np.array([510.0, 500.0, 90.0]), np.array([490.0, 520.0, 80.0])
    reached = attained(weights, selection, report, at, 22.0)
    assert reached.tolist() == [22.0, 80.0, 520.0, 520.0, 490.0]


def test_what_is_attained_owes_nothing_to_luck():
    """Ten equally good policies: the best report score overstates, the attained return doesn't."""
    rng = np.random.default_rng(0)
    weights = np.arange(1.0, 11.0)
    found, naive = [], []
    for _ in range(2000):
        selection, report = rng.normal(100, 5, (2, 10))
        found.append(attained(weights, selection, report, np.array([10.0]), 0.0)[0])
        naive.append(report.max())
    error = 5 / np.sqrt(2000)
    assert abs(np.mean(found) - 100) < 3 * error
    assert np.mean(naive) - 100 > 50 * error


def test_bands_hold_every_repeat_where_there_are_three(comparison):
    bands = comparison.bands
    assert set(bands["group"]) == {"cartpole, strategy = pareto_pbt"}
    assert (bands["low"] <= bands["median"]).all()
    assert (bands["median"] <= bands["high"]).all()
    own = comparison.fronts[comparison.fronts["group"] == bands["group"].iloc[0]]
    at_most = bands["high"].iloc[bands["weights"].searchsorted(own["weights"])].to_numpy()
    assert (own["return_mean"].to_numpy() <= at_most).all()
    densest = own.sort_values("weights").groupby("folder")["return_mean"].last()
    assert bands["high"].iloc[-1] == densest.max()


def test_what_stands_in_the_way_is_named(folders, tmp_path, simulate):
    first = search.load(folders[0])
    with pytest.raises(ResultsError, match="given twice"):
        compare([first, first])
    other = simulate(tmp_path / "b", seed=3, members=4, segments=2)
    configured(other, env="Pendulum-v1")
    with pytest.raises(ResultsError, match="CartPole-v1, Pendulum-v1"):
        compare([first, search.load(other.folder)])
    empty = simulate(tmp_path / "c", purposes=(), members=4, segments=2)
    found = compare([first, search.load(empty.folder)])
    assert "c is not finished and is left out" in found.notes
    assert len(found.searches) == 1
    with pytest.raises(ResultsError, match="None of the searches has a front"):
        compare([search.load(empty.folder)])


def test_games_of_one_environment_are_not_laid_over_each_other(folders):
    def of(folder, game):
        text = f"name: a\nenv_config: {game}\n"
        results = search.load(folder)
        manifest = {**results.manifest, "env": "minatar:MinAtar"}
        return dataclasses.replace(results, config=text, manifest=manifest)

    first = of(folders[0], "{game: breakout, noisy: true}")
    expected = (
        'minatar:MinAtar {"game": "breakout", "noisy": true}, minatar:MinAtar {"game": "freeway"}'
    )
    with pytest.raises(ResultsError, match=expected):
        compare([first, of(folders[1], "{game: freeway}")])
    # The order of keys says nothing; where no configuration is left, the environment has to do.
    known = compare([first, of(folders[1], "{noisy: true, game: breakout}")])
    assert known.env == 'minatar:MinAtar {"game": "breakout", "noisy": true}'
    assert len(compare([first, dataclasses.replace(first, folder=folders[1], config="")]).fronts)


def test_folders_are_called_by_what_tells_them_apart(folders, tmp_path, monkeypatch):
    for place in ("seed0/run", "seed1/run", "b"):
        shutil.copytree(folders[int(place == "seed1/run")], tmp_path / place)
    first, second = compare(
        [search.load(tmp_path / "seed0/run"), search.load(tmp_path / "seed1/run")]
    ).searches["folder"]
    assert (first, second) == ("seed0/run", "seed1/run")
    monkeypatch.chdir(tmp_path / "seed0" / "run")
    found = compare([search.load("."), search.load("../../b")])
    assert list(found.searches["folder"]) == ["run", "b"]
    assert list(dict.fromkeys(found.fronts["folder"])) == ["run", "b"]


def test_fronts_of_folders_with_one_name_are_lines_of_their_own(folders, tmp_path):
    for seed in (0, 1):
        shutil.copytree(folders[seed], tmp_path / f"seed{seed}" / "run")
    places = [tmp_path / "seed0" / "run", tmp_path / "seed1" / "run"]
    page, _ = write_comparison(places, tmp_path / "out")
    assert list(pd.read_csv(page.parent / "comparison.csv")["folder"]) == ["seed0/run", "seed1/run"]
    drawn = fronts_chart(compare([search.load(place) for place in places])).to_dict()
    rows = [row for rows in drawn["datasets"].values() for row in rows if "snapshot_id" in row]
    assert {row["folder"] for row in rows} == {"seed0/run", "seed1/run"}


def test_a_search_that_is_left_out_is_called_so_that_it_can_be_told(folders, tmp_path, simulate):
    shutil.copytree(folders[0], tmp_path / "seed0" / "run")
    simulate(tmp_path / "seed1" / "run", purposes=(), members=4, segments=2)
    unfinished = tmp_path / "seed1" / "run"
    path = unfinished / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "interrupted"}))
    found = compare([search.load(tmp_path / "seed0" / "run"), search.load(unfinished)])
    assert "seed1/run is not finished and is left out" in found.notes


def test_repeats_that_do_not_vary_are_not_said_to_be_few(comparison):
    alike = comparison.groups.assign(over_decades_low=math.nan, over_decades_high=math.nan)
    repeated, single = group_rows(dataclasses.replace(comparison, groups=alike))
    assert (repeated["searches"], repeated["interval, decades"]) == ("3", "none: they don't vary")
    assert single["interval, decades"] == "none: fewer than 3 searches"


def test_a_search_that_found_nothing_counts_as_nothing(folders, tmp_path, simulate):
    failed = simulate(tmp_path / "failed", seed=9, members=6, segments=3)
    configured(failed, seed=9)
    path = failed.folder / "evaluations.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["snapshot_id"].startswith("m"):
            record["returns"] = [1.0] * len(record["returns"])
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    fine = [search.load(folder) for folder in folders[:3]]
    before, found = compare(fine), compare([*fine, search.load(failed.folder)])
    assert found.notes == ("nothing that failed found is worth having: its hypervolume is 0",)
    assert list(found.searches["points"])[3] == 0
    # The common scale is the mean of four searches now, not of three.
    areas = np.array([*before.searches["over_decades"], 0.0])
    assert found.searches["over_decades"].to_numpy() == pytest.approx(areas, rel=2e-3)
    assert found.groups["over_decades"].item() == pytest.approx(interquartile_mean(areas), rel=2e-3)
    assert found.groups["over_decades"].item() < before.groups["over_decades"].item()
    # Of four searches that attain something, quartiles: one of them the floor everywhere.
    assert found.bands["low"].iloc[-1] < before.bands["low"].iloc[-1]
    write_comparison([*folders[:3], failed.folder], tmp_path / "page")


def test_a_search_in_which_nothing_was_worth_evaluating_counts_too(folders, tmp_path, simulate):
    hopeless = simulate(tmp_path / "hopeless", seed=9, members=6, segments=3)
    configured(hopeless, seed=9)
    path = hopeless.folder / "evaluations.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    baselines = [r for r in records if not r["snapshot_id"].startswith("m")]
    path.write_text("".join(json.dumps(record) + "\n" for record in baselines))
    fine = [search.load(folder) for folder in folders[:3]]
    assert (
        "hopeless is not finished and is left out"
        in compare([*fine, search.load(hopeless.folder)]).notes
    )
    Archive(hopeless.folder).add_event(CANDIDATES, chosen=[])
    found = compare([*fine, search.load(hopeless.folder)])
    assert "nothing that hopeless found is worth having: its hypervolume is 0" in found.notes
    assert not any("differ in size" in note for note in found.notes)
    assert list(found.searches["over_decades"])[3] == 0.0


def test_repeats_with_one_seed_are_said_to_be_dependent(folders, tmp_path, simulate):
    world = simulate(tmp_path / "b", seed=0, members=6, segments=3)
    configured(world, seed=0)
    found = compare([search.load(folders[0]), search.load(world.folder)])
    assert any("share seed 0" in note for note in found.notes)


def test_searches_without_a_scale_are_compared_by_their_fronts_alone(folders):
    bare = [
        dataclasses.replace(
            search.load(folder), baseline_records={}, manifest={"env": "CartPole-v1", "seed": i},
            evaluations=[e for e in search.load(folder).evaluations if e.snapshot_id[0] == "m"],
        )
        for i, folder in enumerate(folders[:2])
    ]  # fmt: skip
    found = compare(bare)
    assert found.scale.note in found.notes
    assert found.searches["over_decades"].isna().all()
    assert len(found.bands)


def test_configurations_that_differ_in_much_are_still_told_apart(folders):
    results = search.load(folders[0])
    texts = [f"name: a\nx: {{k: 0, b: {i}, a: {j}}}\nk: {i + j}" for i in (0, 1) for j in (0, 1)]
    names = group_names([dataclasses.replace(results, config=text) for text in texts])
    assert len(set(names)) == 4
    assert names[0] == "a, k = 0, a = 0"


def test_a_comparison_is_one_offline_page_with_its_table(folders, tmp_path):
    before = {path: path.read_bytes() for path in folders[0].iterdir() if path.is_file()}
    page, text = write_comparison(folders, tmp_path / "new" / "place")
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "new" / "place" / "comparison.html"
    assert "default-src 'none'" in html
    assert html.count("data-chart=") == 3
    assert "interquartile mean of 3 searches, 95 % interval" in text
    assert text.splitlines()[-1].startswith("Common scale: retained is 0 at a return of")
    assert len(pd.read_csv(page.parent / "comparison.csv")) == 4
    markdown = (page.parent / "comparison.md").read_text(encoding="utf-8")
    assert markdown.startswith("# 4 searches of CartPole-v1 compared")
    assert all(f"| {folder.name} |" in markdown for folder in folders)
    assert "(comparison.png)" in markdown
    assert "Common scale" in markdown
    assert (page.parent / "comparison.svg").read_text().startswith("<svg")
    assert (page.parent / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert {path: path.read_bytes() for path in folders[0].iterdir() if path.is_file()} == before


def test_the_command_compares_several_folders_and_reports_one(folders, tmp_path):
    run = CliRunner().invoke(
        cli, ["report", *map(str, folders[:2]), "--output", str(tmp_path / "out")]
    )
    assert run.exit_code == 0, run.output
    assert run.output.splitlines()[-1] == f"comparison: {tmp_path / 'out' / 'comparison.html'}"
    assert comparison_text(compare([search.load(f) for f in folders[:2]])) in run.output
    run = CliRunner().invoke(cli, ["report", str(folders[0]), "--output", str(tmp_path)])
    assert run.exit_code == 2
    assert "--output is for a comparison" in run.output


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_an_output_that_is_no_folder_is_named(folders, tmp_path, place):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ResultsError, match="Name a folder"):
        write_comparison(folders[:2], tmp_path / place)
    assert (tmp_path / "taken").read_text() == "mine"


def test_plain_policies_of_every_search_are_drawn_and_listed(folders, tmp_path):
    for seed, mean in ((0, 300.0), (1, 400.0)):
        shutil.copytree(folders[seed], tmp_path / f"run{seed}")
        archive = Archive(tmp_path / f"run{seed}")
        archive.add_baseline(
            Baseline(
                name="linear-4", description="", env_steps=1, wall_time=0.0, search_return=mean,
                kind="linear", nonzero_params=4, total_params=4,
            )
        )  # fmt: skip
        for e in archive.evaluations():
            if e.snapshot_id == "dense":
                returns = [mean + i % 2 for i in range(len(e.returns))]
                found = dataclasses.replace(e, snapshot_id="linear-4", returns=returns)
                archive.add_evaluation(found)
    places = [tmp_path / "run0", tmp_path / "run1"]
    page, _ = write_comparison(places, tmp_path / "out")
    told = (page.parent / "comparison.md").read_text()
    assert "Letters are plain policies, with their report scores: L: linear policy." in told
    (row,) = [line for line in told.splitlines() if line.startswith("| linear policy |")]
    assert "| 2 | 4 to 4 weights | 350.5 | 300.5 to 400.5 |" in row
    drawn = fronts_chart(compare([search.load(place) for place in places])).to_dict()
    marks = [r for rows in drawn["datasets"].values() for r in rows if r.get("letter") == "L"]
    assert {m["return_mean"] for m in marks} == {300.5, 400.5}
