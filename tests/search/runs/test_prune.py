"""`prunefront prune` and `prunefront sensitivity`: from a plain checkpoint to files and exit status."""

import contextlib
import csv
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from command_line import prunefront
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext import load_policy
from rllib_ext.checkpoint.reading import read_ppo_config
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError, RunError
from search import load
from search.cli.main import cli
from search.runs.display.json_lines import EVENTS
from search.runs.inputs import open_checkpoint, open_policy
from search.runs.prune import run_prune
from search.runs.prune_settings import PruneSettings, levels_table

TOTAL = 352


def policy_weights(folder):
    module = RLModule.from_checkpoint(folder.resolve() / "rl_module")
    named = module.named_parameters()
    return {n: p.detach() for n, p in named if n.endswith("weight") and "critic" not in n}


def prune(checkpoint, output, **values):
    phases = []
    pruning = PruningConfig(**values.pop("pruning", {}))
    settings = PruneSettings(checkpoint=checkpoint, pruning=pruning, **values)
    ppo = read_ppo_config(checkpoint)
    run_prune(settings, ppo, output, command=["prunefront", "prune"], phase=phases.append)
    return load(output), phases


@pytest.fixture(scope="module")
def pruned(ppo_checkpoint, tmp_path_factory):
    """A run from the command line, and its results folder."""
    here = tmp_path_factory.mktemp("here")
    words = [
        "prune", ppo_checkpoint, "--sparsity", 0, "--sparsity", 0.5, "--sparsity", 0.9,
        "--threshold", 0.2, "--retrain", 1, "--episodes", 8, "--output", "out",
    ]  # fmt: skip
    return prunefront(*words, cwd=here), here / "out"


@pytest.mark.ray
@pytest.mark.e2e
def test_the_command_ends_well_and_says_once_that_code_is_run(pruned):
    done, folder = pruned
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("runs code from it") == 1
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr
    assert (folder / "report.html").is_file()


@pytest.mark.ray
@pytest.mark.e2e
def test_its_table_holds_every_level_beside_the_checkpoint(pruned):
    done, folder = pruned
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    levels = ["sparsity-0", "sparsity-0.5", "sparsity-0.9", "threshold-0.2"]
    assert list(rows)[: len(levels) + 3] == ["dense", *levels, "random", "constant"]
    assert "50.00 %" in rows["sparsity-0.5"]
    assert " 176 " in rows["sparsity-0.5"]
    assert "as pruned" in done.stdout.splitlines()[0]
    assert done.stdout.startswith(levels_table(load(folder)))


@pytest.mark.ray
@pytest.mark.e2e
def test_saved_policies_hold_exact_counts_masks_and_sizes(pruned):
    _, folder = pruned
    results = load(folder)
    for record in results.records:
        weights = policy_weights(folder / record.checkpoint)
        zeros = sum(int((w == 0.0).sum()) for w in weights.values())
        assert record.total_params == sum(w.numel() for w in weights.values()) == TOTAL
        assert record.nonzero_params == TOTAL - zeros
        if record.snapshot_id.startswith("sparsity-"):
            assert zeros == round(record.hyperparameters["pruning.final_sparsity"] * TOTAL)
        masks = np.load(folder / record.checkpoint / "masks.npz")
        assert all(bool((w[~torch.from_numpy(masks[n])] == 0).all()) for n, w in weights.items())
        metadata = json.loads((folder / record.checkpoint / "metadata.json").read_text())
        assert metadata["env"] == "CartPole-v1"
        assert metadata["shrunk_params"] <= metadata["dense_params"]
    assert record.snapshot_id == "threshold-0.2"
    assert 0 < record.nonzero_params < TOTAL


@pytest.mark.ray
@pytest.mark.e2e
def test_figures_are_those_of_the_saved_policies(pruned, ppo_checkpoint):
    """Each policy is loaded and plays the archive's seeds again."""
    _, folder = pruned
    evaluator = Evaluator(env_maker(read_ppo_config(ppo_checkpoint)))
    results = load(folder)
    for found in results.evaluations:
        if found.snapshot_id in ("random", "constant"):
            continue
        policy = load_policy(folder / "policies" / found.snapshot_id)
        assert list(evaluator.run(policy, found.seeds).returns) == found.returns
    evaluator.close()
    seeds = {e.purpose: set(e.seeds) for e in results.evaluations}
    scored = set(results.records[0].seeds)
    assert not seeds["selection"] & seeds["report"]
    assert not scored & (seeds["selection"] | seeds["report"])


@pytest.mark.ray
@pytest.mark.e2e
def test_the_dense_baseline_is_the_checkpoint_as_it_is(pruned):
    _, folder = pruned
    results = load(folder)
    dense = results.baseline_records["dense"]
    assert dense.env_steps >= 8 * 256
    assert dense.nonzero_params == TOTAL
    # Pruned by nothing, it plays as the dense one did before it trained on.
    unpruned = next(r for r in results.records if r.snapshot_id == "sparsity-0")
    report = {(e.snapshot_id, e.purpose): np.mean(e.returns) for e in results.evaluations}
    assert unpruned.objectives["return_before_retraining"] == report["dense", "report"]
    half = next(r for r in results.records if r.snapshot_id == "sparsity-0.9")
    assert half.objectives["return_before_retraining"] != report["dense", "report"]


@pytest.mark.ray
@pytest.mark.e2e
def test_the_folder_says_what_was_done_and_reports_again(pruned):
    _, folder = pruned
    results = load(folder)
    assert results.manifest["status"] == "finished"
    assert results.manifest["strategy"] == "prune"
    assert results.manifest["env_steps"]["training"] == sum(r.env_steps for r in results.records)
    assert all(r.iteration == 1 and r.env_steps >= 256 for r in results.records)
    assert "retrain: 1" in results.config
    assert len(results.front)
    (folder / "report.html").unlink()
    again = prunefront("report", folder, cwd=folder.parent)
    assert again.returncode == 0, again.stderr
    assert (folder / "report.html").is_file()


@pytest.mark.ray
@pytest.mark.e2e
def test_sensitivity_of_a_checkpoint_and_of_a_saved_policy(pruned, ppo_checkpoint, tmp_path):
    _, folder = pruned
    words = ["--sparsity", 0.5, "--sparsity", 1, "--episodes", 2]
    done = prunefront(
        "sensitivity", ppo_checkpoint, *words, "--output", tmp_path / "table.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("runs code from it") == 1
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(rows) == 3 * 2
    assert {float(row["sparsity"]) for row in rows} == {0.5, 1.0}
    assert all(float(row["kl"]) >= 0.0 and float(row["return_mean"]) > 0.0 for row in rows)
    assert done.stdout.count("return ") >= 3
    relative = (folder / "policies" / "dense").relative_to(folder.parent)
    saved = prunefront(
        "sensitivity", relative, "--sparsity", 0.5, "--no-returns", "--exclude", "pi.*",
        cwd=folder.parent,
    )  # fmt: skip
    assert saved.returncode == 0, saved.stderr
    assert "pi.net" not in saved.stdout
    assert "returns were not measured" in saved.stdout


@pytest.mark.ray
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune", "nowhere"], "nowhere is not there"),
        (["prune", "."], "not a checkpoint of an RLlib algorithm"),
        (["prune", "{policy}"], "is a saved policy"),
        (["prune", "{broken}"], "cannot be read"),
        (["prune", "{checkpoint}", "--sparsity", "1"], "final_sparsity = 1.0"),
        (["prune", "{checkpoint}", "--env", "Nothing-v0"], "'Nothing-v0'"),
        (["prune", "{checkpoint}", "--output", "{policy}"], "is not empty"),
        (["sensitivity", "nowhere"], "nowhere is not there"),
        (["sensitivity", "{checkpoint}", "--sparsity", "2"], "sparsity = 2.0"),
        (["sensitivity", "{checkpoint}", "--episodes", "0"], "episodes = 0"),
        (["sensitivity", "{checkpoint}", "--output", "no/folder.csv"], "no is not a folder"),
    ],
)
def test_mistakes_get_one_message_and_nothing_is_written(
    pruned, ppo_checkpoint, tmp_path, words, message
):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(ppo_checkpoint, broken)
    state = broken / "learner_group" / "learner" / "state.pkl"
    state.write_bytes(state.read_bytes()[:200])
    here = tmp_path / "here"
    here.mkdir()
    named = {
        "checkpoint": ppo_checkpoint,
        "policy": pruned[1] / "policies" / "dense",
        "broken": broken,
    }
    done = prunefront(*(word.format(**named) for word in words), cwd=here)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(here.iterdir()) == []


@pytest.mark.ray
def test_scripts_hear_of_the_levels_as_events(ppo_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("search.runs.session.connected", contextlib.nullcontext)
    words = [
        "prune",
        ppo_checkpoint,
        "--sparsity",
        0.5,
        "--sparsity",
        0.9,
        "--episodes",
        2,
        "--json",
    ]
    run = CliRunner().invoke(
        cli, [*map(str, words), "--output", str(tmp_path / "out")], catch_exceptions=False
    )
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert all(set(e) == {"event", "time", "elapsed", *EVENTS[e["event"]]} for e in told)
    levels = {row["snapshot_id"]: row["nonzero_params"] for row in told[-1]["levels"]}
    assert levels == {"sparsity-0.5": 176, "sparsity-0.9": 35}
    assert told[-1]["folder"] == str(tmp_path / "out")


@pytest.mark.ray
@pytest.mark.parametrize("criterion", ["movement", "sensitivity"])
def test_criteria_get_what_they_read(ppo_checkpoint, tmp_path, criterion):
    results, phases = prune(
        ppo_checkpoint, tmp_path / "out", criterion=criterion, sparsities=(0.5,), episodes=2
    )
    (record,) = results.records
    assert record.sparsity == 0.5
    assert record.objectives == {}
    trained = results.manifest["env_steps"]["training"]
    assert (trained >= 256) if criterion == "movement" else trained == 0
    assert any(criterion in phase for phase in phases)
    assert "as pruned" not in levels_table(results)


@pytest.mark.ray
def test_units_go_whole_and_the_critic_has_its_own_target(ppo_checkpoint, tmp_path):
    pruning = {"granularity": "neuron", "critic_final_sparsity": 0.25}
    results, _ = prune(
        ppo_checkpoint, tmp_path / "out", pruning=pruning, sparsities=(0.5,), episodes=2, retrain=1
    )
    (record,) = results.records
    assert 0.4 < record.sparsity <= 0.5
    assert 0.15 < record.critic_sparsity <= 0.25
    first, second, _ = policy_weights(tmp_path / "out" / record.checkpoint).values()
    gone = (first == 0.0).all(dim=1)
    assert bool(gone.any())
    assert bool((second[:, gone] == 0.0).all())


@pytest.mark.ray
def test_the_same_seed_gives_the_same_records(ppo_checkpoint, tmp_path):
    def told(folder):
        results, _ = prune(
            ppo_checkpoint, tmp_path / folder, sparsities=(0.7,), episodes=3, retrain=1, seed=4
        )
        return [(r.sparsity, r.returns, r.layers) for r in results.records], results.evaluations

    assert told("a") == told("b")


@pytest.mark.ray
def test_training_that_fails_leaves_the_levels_before_it(ppo_checkpoint, tmp_path):
    """A learning rate without measure makes the weights numbers no more."""
    with pytest.raises(RunError, match=r"sparsity-0\.5: training failed.*safe in"):
        prune(ppo_checkpoint, tmp_path / "out", sparsities=(0.5,), episodes=2, retrain=3, lr=1e38)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert (tmp_path / "out" / "policies" / "dense").is_dir()


@pytest.mark.ray
def test_an_interruption_is_recorded(ppo_checkpoint, tmp_path):
    said = []

    def phase(text):
        said.append(text)
        if text.startswith("sparsity-0.9"):
            raise KeyboardInterrupt

    settings = PruneSettings(
        checkpoint=ppo_checkpoint, pruning=PruningConfig(), sparsities=(0.5, 0.9), episodes=2
    )
    with pytest.raises(KeyboardInterrupt):
        run_prune(
            settings, read_ppo_config(ppo_checkpoint), tmp_path / "out", command=[], phase=phase
        )
    assert said[-1] == f"interrupted: 1 of 2 levels are safe in {tmp_path / 'out'}"
    assert load(tmp_path / "out").manifest["status"] == "interrupted"


@pytest.mark.ray
def test_an_environment_can_be_named_anew(small_ppo, ppo_checkpoint, tmp_path, monkeypatch):
    from ray.tune import register_env

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_envs.py").write_text(
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n"
        "class Own(CartPoleEnv):\n"
        "    def __init__(self, config=None):\n"
        "        super().__init__()\n"
    )
    said = []
    ppo = open_checkpoint(ppo_checkpoint, "own_envs:Own", said.append)
    assert ppo.env.__name__ == "Own"
    assert len(said) == 1
    register_env("only-here", lambda config: __import__("own_envs").Own())
    algorithm = small_ppo("only-here").build_algo()
    algorithm.save_to_path(tmp_path / "registered")
    algorithm.stop()
    assert open_checkpoint(tmp_path / "registered", None, said.append).env == "only-here"
    with pytest.raises(ConfigError, match="'no_such_module:Own-v0'"):
        open_checkpoint(ppo_checkpoint, "no_such_module:Own-v0", said.append)
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "metadata.json").write_text('{"env": "elsewhere"}')
    with pytest.raises(ConfigError, match="--env 'package"):
        open_policy(policy, None, said.append)
    (policy / "metadata.json").write_text("{}")
    with pytest.raises(ConfigError, match="names no environment"):
        open_policy(policy, None, said.append)
