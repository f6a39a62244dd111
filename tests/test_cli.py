"""The command line from end to end, in processes of its own: one small search, and what can go wrong."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import SMOKE, assert_refused, prunefront, rows, smoke_search
from tracker_files import events_in

pytestmark = pytest.mark.e2e

SNAPSHOT_COLUMNS = [
    "snapshot_id", "trial_number", "member", "segment", "iteration", "env_steps", "wall_time",
    "status", "return_mean", "return_std", "episodes", "sparsity", "critic_sparsity",
    "nonzero_params", "total_params", "parent", "checkpoint",
]  # fmt: skip
FRONT_COLUMNS = [
    "snapshot_id", "sparsity", "density", "return_mean", "return_ci_low", "return_ci_high",
    "episodes", "search_return", "retained", "p_nondominated", "nonzero_params", "total_params",
    "shrunk_params", "macs", "latency_us", "knee", "policy",
]  # fmt: skip


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", params=["rllib", "packed"])
def smoke(request, tmp_path_factory):
    """The smoke search, run once with each engine: (its folder, the finished process)."""
    return smoke_search(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def without_ray(tmp_path_factory):
    """A folder that, first on the path, makes importing Ray or torch an error."""
    folder = tmp_path_factory.mktemp("poison")
    for name in ("ray", "torch"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} must not be imported')\n")
    return folder


def test_a_search_says_where_its_report_is_and_what_it_found(smoke):
    folder, run = smoke
    assert run.stdout.splitlines()[-1] == f"report: {folder.resolve() / 'report.html'}"
    assert "retained" in run.stdout
    assert "Traceback" not in run.stderr


def test_progress_reads_well_in_a_log(smoke):
    _, run = smoke
    lines = run.stderr.splitlines()
    assert all(line.isprintable() for line in lines)
    assert all(line[0] == "[" and line[6:8] == "] " for line in lines), run.stderr
    told = [line for line in lines if "env steps" in line and "best return" in line]
    assert told
    for word in ("of 32,000", "of 4 members", "sparsest good"):
        assert word in told[-1]


def test_a_results_folder_holds_what_the_contract_names(smoke):
    folder, _ = smoke
    for name in (
        "config.yaml", "manifest.json", "snapshots.jsonl", "snapshots.csv", "snapshots.parquet",
        "events.jsonl", "episodes.parquet", "layers.parquet", "front.csv", "front.parquet",
        "baselines.csv", "report.html", "report.md", "front.png", "front.svg", "study.log",
    ):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "policies").is_dir()
    assert (folder / "tune").is_dir()
    assert not list(folder.rglob("*.part"))
    assert (folder / "front.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_tensorboard_has_a_run_a_member_over_its_lineage_s_clock(smoke):
    folder, _ = smoke
    members = json.loads((folder / "manifest.json").read_text())["members"]
    names = [path.name for path in (folder / "tensorboard").iterdir()]
    assert sorted(names) == ["dense", *(f"m{i:02d}" for i in range(members))]
    snapshots = pd.read_csv(folder / "snapshots.csv")
    for member, own in snapshots.groupby("member"):
        events = events_in(folder / "tensorboard" / f"m{member:02d}")
        returns = [
            (s, f["evaluation/return_mean"]) for s, f, _ in events if "evaluation/return_mean" in f
        ]
        wanted = list(zip(own["env_steps"], own["return_mean"], strict=True))
        assert [s for s, _ in returns] == [s for s, _ in wanted]
        assert [r for _, r in returns] == pytest.approx([r for _, r in wanted], rel=1e-6)
        for name in ("pruning/sparsity", "learners/total_loss"):
            assert all(name in figures for _, figures, _ in events), name


def test_tune_writes_csv_and_json_for_every_trial(smoke):
    folder, _ = smoke
    trials = [path for path in (folder / "tune").iterdir() if path.is_dir()]
    assert len(trials) >= 3
    for trial in trials:
        assert (trial / "progress.csv").stat().st_size
        assert (trial / "result.json").stat().st_size
        assert not list(trial.glob("events*"))
        assert "member" in (trial / "params.json").read_text()
        assert '"config"' not in (trial / "result.json").read_text()


def test_tune_keeps_no_figures_of_segments_that_are_over(smoke):
    folder, _ = smoke
    (state,) = (folder / "tune").glob("experiment_state-*.json")
    trials = json.loads(state.read_text())["trial_data"]
    assert len(trials) >= 3
    assert all(json.loads(figures)["last_result"] == {} for _, figures in trials)


def test_slots_train_side_by_side_however_short_the_segments(smoke):
    folder, _ = smoke
    trials = (folder / "tune").glob("*/progress.csv")
    processes = {pid for trial in trials for pid in pd.read_csv(trial)["pid"]}
    slots = json.loads((folder / "manifest.json").read_text())["slots"]
    assert len(processes) >= min(slots, 2)


def test_tables_have_the_contracts_columns(smoke):
    folder, _ = smoke
    snapshots, front = (pd.read_csv(folder / f"{n}.csv") for n in ("snapshots", "front"))
    assert list(snapshots.columns[: len(SNAPSHOT_COLUMNS)]) == SNAPSHOT_COLUMNS
    assert {"hp.pruning.final_sparsity", "hp.training.lr"} <= set(snapshots.columns)
    assert list(front.columns[: len(FRONT_COLUMNS)]) == FRONT_COLUMNS
    assert len(front) >= 1
    assert len(snapshots) == len(rows(folder, "snapshots.jsonl")) > 20
    shares = 1 - snapshots["nonzero_params"] / snapshots["total_params"]
    np.testing.assert_allclose(snapshots["sparsity"], shares, atol=1e-12)


def test_the_budget_was_kept_to_within_an_iteration_a_member(smoke):
    folder, _ = smoke
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert 32_000 <= manifest["env_steps"]["training"] <= 32_000 + 4 * 1_100
    table = pd.read_csv(folder / "baselines.csv")
    baselines = table["env_steps"].groupby(table["kind"].fillna(table["name"])).sum()
    assert baselines[["dense", "random_masks", "small_dense"]].between(8_000, 8_000 + 1_100).all()
    # A linear policy and a tree are fitted to episodes of 500 steps at most.
    assert 8_000 <= baselines["linear"] <= 8_000 + 1_100 + 50 * 500
    assert 0 < baselines["tree"] <= 401 * 500
    assert manifest["env_steps"]["baselines"] == baselines.sum()
    assert manifest["command"][:2] == ["prunefront", "search"]
    assert manifest["failures"] == []


def test_the_fronts_returns_come_from_re_evaluation(smoke):
    folder, _ = smoke
    front = pd.read_csv(folder / "front.csv").set_index("snapshot_id")
    episodes = pd.read_parquet(folder / "episodes.parquet")
    fresh = episodes[episodes["purpose"] == "report"].groupby("snapshot_id")["return"]
    for name, point in front.iterrows():
        assert point["return_mean"] == pytest.approx(fresh.get_group(name).mean(), rel=1e-12)
        assert point["episodes"] == len(fresh.get_group(name)) == 20
        if fresh.get_group(name).nunique() == 1:
            # A capped return has no interval.
            assert np.isnan([point["return_ci_low"], point["return_ci_high"]]).all()
        else:
            assert point["return_ci_low"] <= point["return_mean"] <= point["return_ci_high"]
    seeds = {p: set(group["seed"]) for p, group in episodes.groupby("purpose")}
    assert seeds["search"].isdisjoint(seeds["selection"] | seeds["report"])
    assert seeds["selection"].isdisjoint(seeds["report"])


def test_baselines_are_measured(smoke):
    folder, _ = smoke
    baselines = pd.read_csv(folder / "baselines.csv").set_index("name")
    assert {"dense", "random", "constant"} <= set(baselines.index)
    assert baselines.loc["dense", "return_mean"] > baselines.loc["random", "return_mean"] > 9
    assert baselines.loc["dense", "sparsity"] == 0.0
    assert baselines.loc["dense", "retained"] == pytest.approx(1.0)
    trained = baselines[baselines["kind"].notna()]
    assert sorted(trained["kind"]) == ["linear", "random_masks", "small_dense", "tree"]
    assert (trained["episodes"] == 20).all()
    assert trained["return_mean"].notna().all()
    front = pd.read_csv(folder / "front.csv").set_index("snapshot_id")
    for row in trained.reset_index().to_dict("records"):
        wanted = front.loc[row["level"], "nonzero_params"]
        if row["kind"] == "random_masks":
            assert row["nonzero_params"] == wanted
        else:
            assert 0 < row["nonzero_params"] <= wanted
            assert row["name"] == f"{row['kind']}-{row['nonzero_params']}"
        if row["kind"] == "small_dense":
            assert 0.5 * wanted < row["nonzero_params"]
            assert row["sparsity"] == 0.0
    # Two logits need one row of weights for four inputs.
    assert trained.set_index("kind").loc["linear", "nonzero_params"] == 4
    assert trained.set_index("kind").loc["tree", "flash_bytes"] > 0


def test_the_front_was_tried_under_the_configurations_shift(smoke):
    folder, _ = smoke
    shifted = pd.read_csv(folder / "shift.csv").set_index("policy")
    front = pd.read_csv(folder / "front.csv")
    assert set(shifted.index) == {"dense", "random", *front["snapshot_id"]}
    assert set(shifted["shift"]) == {"action noise 0.1"}
    assert (shifted["episodes"] == 10).all()
    assert shifted.loc["dense", "return_mean"] > shifted.loc["random", "return_mean"]
    report = rows(folder, "evaluations.jsonl")
    seeds = next(e["seeds"] for e in report if e["purpose"] == "report")
    assert all(r["seeds"] == seeds[:10] for r in rows(folder, "shifts.jsonl"))


def test_latencies_of_the_front_stand_beside_the_dense_policys(smoke):
    folder, _ = smoke
    front = pd.read_csv(folder / "front.csv")
    baselines = pd.read_csv(folder / "baselines.csv").set_index("name")
    assert (front["latency_us"] > 0).all()
    assert baselines.loc["dense", "latency_us"] > 0
    assert "latency in RLlib, µs" in (folder / "report.md").read_text()


def test_every_weight_that_is_counted_is_computed_with_once_it_is_exported(smoke, tmp_path):
    folder, _ = smoke
    front = pd.read_csv(folder / "front.csv").iloc[-1]
    point = front["snapshot_id"]
    words = ("export", folder, "--point", point, "--format", "numpy", "--output", tmp_path / "e")
    run = prunefront(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (described,) = (tmp_path / "e").rglob("policy.json")
    size = json.loads(described.read_text())["size"]
    # Shrinking folds away what does nothing: what is left to multiply with is what was counted.
    assert size["multiply_accumulates"] == front["nonzero_params"]


def test_events_tell_what_happened(smoke):
    folder, _ = smoke
    events = rows(folder, "events.jsonl")
    explored = [e for e in events if e["event"] == "explore"]
    assert len(explored) >= 4
    assert all(
        {"pruning.final_sparsity", "training.lr"} <= e["hyperparameters"].keys() for e in explored
    )
    starts = {(e["member"], e["segment"]): e["plan"] for e in events if e["event"] == "start"}
    # Whether so short a search has any depends on who is done first; the coordinator's tests make sure
    # that there are some.
    exploits = [e for e in events if e["event"] == "exploit"]
    for event in exploits:
        assert starts[event["member"], event["segment"]]["parent"] == event["donor"]
        (first, *_) = (
            s
            for s in rows(folder, "snapshots.jsonl")
            if (s["member"], s["segment"]) == (event["member"], event["segment"])
        )
        donor = next(
            s for s in rows(folder, "snapshots.jsonl") if s["snapshot_id"] == event["donor"]
        )
        assert first["parent"] == event["donor"]
        assert first["env_steps"] > donor["env_steps"]
        assert first["sparsity"] >= donor["sparsity"]


def test_policies_load_with_plain_rllib_and_their_zeros_are_the_masks(smoke):
    from ray.rllib.core.rl_module.rl_module import RLModule

    from rllib_ext import load_policy

    folder, _ = smoke
    front = pd.read_csv(folder / "front.csv")
    for point in front.to_dict("records"):
        place = folder / point["policy"]
        module = RLModule.from_checkpoint(place / "rl_module")
        weights = dict(module.named_parameters())
        zeros = kept = 0
        with np.load(place / "masks.npz") as masks:
            for name in masks.files:
                if name.startswith(("encoder.critic_encoder", "vf")):
                    continue
                weight = weights[name].detach().numpy()
                assert not weight[~masks[name]].any()
                zeros += int((weight == 0).sum())
                kept += int(masks[name].sum())
        assert kept == point["nonzero_params"]
        assert zeros == point["total_params"] - point["nonzero_params"]
        policy = load_policy(place)
        policy.begin([1])
        (action,) = policy.act([0], [np.zeros(4, dtype=np.float32)], [0.0])
        assert action in (0, 1)


def test_a_report_is_rebuilt_alike_without_ray(smoke, without_ray, tmp_path):
    folder, _ = smoke
    before = (folder / "front.csv").read_bytes(), (folder / "snapshots.csv").read_bytes()
    for name in ("front.csv", "snapshots.csv", "report.html", "report.md", "front.png"):
        (folder / name).unlink()
    run = prunefront("report", folder, cwd=tmp_path, path=[without_ray])
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.splitlines()[-1].startswith("report: ")
    assert ((folder / "front.csv").read_bytes(), (folder / "snapshots.csv").read_bytes()) == before
    assert (folder / "report.html").is_file()


def test_the_poison_works(without_ray, tmp_path):
    run = prunefront("check", SMOKE, cwd=tmp_path, path=[without_ray])
    assert run.returncode == 1
    assert "ray must not be imported" in run.stderr


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(smoke, tmp_path):
    folder, _ = smoke
    before = contents(folder)
    run = prunefront("search", SMOKE, "--output", folder, cwd=tmp_path)
    assert_refused(run, "is not empty", "--output")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["populaton.members=4"], ["unknown key 'populaton'", "'population'"]),
        (["pruning.threshold=-0.1"], ["threshold = -0.1", "[0, inf)"]),
        (["pruning.final_sparsity=1.0"], ["final_sparsity = 1.0", "[0, 1)"]),
        (["pruning.begin=0.95"], ["begin = 0.95 lies after end = 0.9"]),
        (["env=CartPol-v1"], ["env = 'CartPol-v1'", "CartPole"]),
        (["search.space.training.lrr={type: float, low: 0.1, high: 0.2}"], ["lrr", "'lr'"]),
    ],
    ids=lambda value: value[0].partition("=")[0] if "=" in value[0] else "",
)
def test_a_mistake_in_the_configuration_gets_one_message_and_no_folder(
    tmp_path, arguments, expected
):
    run = prunefront("search", SMOKE, *arguments, "--output", tmp_path / "out", cwd=tmp_path)
    assert_refused(run, *expected)
    assert not (tmp_path / "out").exists()


def test_a_missing_configuration_gets_one_message(tmp_path):
    run = prunefront("search", SMOKE.with_name("smoky.yaml"), cwd=tmp_path)
    assert_refused(run, "smoky.yaml is no file", "smoke.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_what_is_no_results_folder_is_refused(tmp_path):
    run = prunefront("report", tmp_path, cwd=tmp_path)
    assert_refused(run, "is not a results folder")
    assert_refused(prunefront("report", tmp_path / "no", cwd=tmp_path), "is not a folder")
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_a_search_without_snapshots_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(SMOKE.read_text())
    run = prunefront("report", tmp_path, cwd=tmp_path)
    assert_refused(run, "no snapshot")
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_an_environment_that_dies_ends_the_run_with_one_message(tmp_path):
    (tmp_path / "dying.py").write_text(
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n"
        "class Dying(CartPoleEnv):\n"
        "    def __init__(self, config):\n"
        "        super().__init__()\n"
        "    def step(self, action):\n"
        "        raise RuntimeError('the simulator died')\n"
    )
    run = prunefront(
        "search", SMOKE, "env=dying:Dying", "--output", tmp_path / "out", cwd=tmp_path,
        path=[tmp_path],
    )  # fmt: skip
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    message = run.stderr[run.stderr.index("failed: ") :]
    assert "the baseline 'random' cannot be evaluated: RuntimeError: the simulator died" in message
    assert f"no snapshot was made; {tmp_path / 'out'} holds no results" in message
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["status"] == "failed"


def test_an_unknown_verb_and_an_unknown_option_are_named(tmp_path):
    for arguments, word in ((["serch"], "serch"), (["search", SMOKE, "--outptu", "x"], "--outptu")):
        run = prunefront(*arguments, cwd=tmp_path)
        assert run.returncode == 2
        assert word in run.stderr
        assert "Traceback" not in run.stderr


def test_check_says_what_would_run(tmp_path):
    run = prunefront("check", SMOKE, "seed=3", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    for text in (
        "smoke: CartPole-v1, strategy pareto_pbt, seed 3",
        "4, 8,000 env steps a lineage, in 3 segments of 2,666",
        "12 segments and the dense baseline",
        "32,000 env steps",
        "pruning.final_sparsity, training.lr",
        "1 CPU",
    ):
        assert text in run.stdout
    assert list(tmp_path.iterdir()) == []
    dry = prunefront("search", SMOKE, "seed=3", "--dry-run", cwd=tmp_path)
    # All but the estimate of time, which is measured.
    assert dry.stdout.splitlines()[:-1] == run.stdout.splitlines()[:-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["packed", "rllib"])
def test_check_and_search_refuse_what_no_member_can_prune(tmp_path, engine):
    for verb, patterns, words in (
        ("check", "['*']", ["no prunable weights", "Exclude fewer"]),
        ("search", "['polcy.*']", ["'polcy.*' matches no parameter", "pi.net.mlp.0.weight"]),
    ):
        run = prunefront(
            verb, SMOKE, f"engine={engine}", f"pruning.exclude={patterns}", cwd=tmp_path
        )
        assert_refused(run, *words)
    assert not any((tmp_path / "results").glob("*"))


def test_help_names_the_verbs(tmp_path):
    run = prunefront("--help", cwd=tmp_path)
    assert run.returncode == 0
    for verb in ("search", "resume", "report", "evaluate", "check", "init", "keys", "schema"):
        assert verb in run.stdout
