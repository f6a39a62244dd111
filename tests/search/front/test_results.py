import json
import subprocess
import sys

import pytest

import search
from rllib_ext.pruning.errors import ResultsError
from search.store.continued import load_config_of
from search.store.folder import update_manifest


def test_load_gives_frames_and_charts_that_display_themselves(finished):
    results = search.load(finished.folder)
    assert len(results.snapshots) == len(finished.snapshots)
    assert len(results.front) > 3
    assert set(results.baselines["name"]) == {"dense", "random", "constant"}
    assert {"selection", "report"} < set(results.episodes["purpose"])
    assert set(results.layers["layer"]) == {"pi.encoder.0", "pi.encoder.1", "pi.head"}
    for chart in (
        results.front_chart(),
        results.front_chart(axis="sparsity"),
        results.hypervolume_chart(),
        results.hypervolume_chart(clock="minutes"),
        results.training_chart(),
        results.training_chart("sparsity"),
        results.lineage_chart(),
        results.layers_chart(),
        results.importance_chart(),
        results.parallel_chart(),
    ):
        spec = chart.to_dict()
        assert spec["description"]
        assert all(spec["datasets"].values())


def test_results_say_what_they_are(finished):
    results = search.load(str(finished.folder))
    assert "240 snapshots" in repr(results)
    html = results._repr_html_()
    assert html.count("<tr>") == 2 + len(results.front)
    assert "keep 95 %" in html


def test_what_prune_left_half_done_is_not_said_to_be_resumed(tmp_path, simulate):
    folder = simulate(tmp_path / "pruned", members=4, segments=2).folder
    update_manifest(folder, strategy="prune", status="interrupted")
    notes = search.load(folder).confirmed.notes
    assert notes[0].startswith(
        "not all levels were pruned (interrupted): the front lacks the others"
    )
    assert not any("resume" in note for note in notes)
    with pytest.raises(ResultsError, match=r"written by `prunefront prune`, and is no search"):
        load_config_of(folder)
    update_manifest(folder, status="finished")
    assert search.load(folder).confirmed.notes == ()


def test_metadata_gives_sizes_and_never_leaves_the_folder(tmp_path, simulate):
    world = simulate(tmp_path / "inside" / "a", members=4, segments=3)
    assert search.load(world.folder).front["policy_bytes"].notna().all()
    (tmp_path / "inside" / "metadata.json").write_text(json.dumps({"policy_bytes": 7}))
    lines = (world.folder / "baselines.jsonl").read_text()
    (world.folder / "baselines.jsonl").write_text(lines.replace("policies/dense", ".."))
    assert search.load(world.folder).baselines["policy_bytes"].isna().all()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "is not a results folder"),
        ({"notes.txt": "x"}, "is not a results folder"),
        ({"config.yaml": "name: x"}, "nothing to report yet"),
        ({"snapshots.jsonl": ""}, "nothing to report yet"),
        ({"snapshots.jsonl": '{"snapshot_id": "a"'}, "nothing to report yet"),
        ({"snapshots.jsonl": '{"snapshot_id": "a"}\n'}, "another version of prunefront"),
        ({"snapshots.jsonl": "not json\n"}, "line 1 is not JSON"),
    ],
)
def test_other_folders_get_one_clear_error(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ResultsError, match=expected):
        search.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("snapshots", "return_mean", None),
        ("snapshots", "member", 1.5),
        ("snapshots", "hyperparameters", "x"),
        ("evaluations", "returns", None),
        ("evaluations", "purpose", 3),
        ("baselines", "env_steps", None),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, simulate, file, field, value):
    world = simulate(tmp_path / "a", members=4, segments=2)
    path = world.folder / f"{file}.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({**json.loads(first), field: value}) + "\n" + "".join(others))
    with pytest.raises(ResultsError, match=f"has {field} = {value!r}"):
        search.load(world.folder)


def test_a_path_that_is_no_folder_and_a_broken_manifest_are_named(tmp_path, simulate):
    with pytest.raises(ResultsError, match="is not a folder"):
        search.load(tmp_path / "missing")
    world = simulate(tmp_path / "a", members=4, segments=2)
    (world.folder / "manifest.json").write_text("{")
    with pytest.raises(ResultsError, match=r"manifest\.json is not JSON"):
        search.load(world.folder)


def test_a_torn_last_line_is_ignored(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=2)
    with (world.folder / "snapshots.jsonl").open("a") as file:
        file.write('{"snapshot_id": "torn", "trial')
    assert len(search.load(world.folder).records) == len(world.snapshots)


def test_snapshots_without_a_number_are_failures_and_not_candidates(tmp_path, simulate):
    world = simulate(tmp_path / "a", members=4, segments=3)
    path = world.folder / "snapshots.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[0]) | {"return_mean": float("nan"), "status": "failed"}
    path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    results = search.load(world.folder)
    from search.report.record import failures

    assert any(record["snapshot_id"] in row["what"] for row in failures(results))
    assert results.training_chart().to_dict()


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted({{'ray', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_reading_results_loads_neither_ray_nor_torch():
    assert loaded_by("import search; search.load") == []
    # The check can fail:
    assert loaded_by("import torch") == ["torch"]
