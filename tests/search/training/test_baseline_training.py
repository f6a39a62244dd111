"""Baselines trained for real: small networks, a few iterations, in a pack and by RLlib."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from taught import dense_policy

from rllib_ext import load_policy
from rllib_ext.pruning.masks import load_masks
from search.config.baseline_kinds import KINDS
from search.config.loading import parse_config
from search.population.baseline_plan import plan_baselines as planned_with
from search.store.archive import Archive, Baseline
from search.training.baseline_jobs import Job, jobs_of, resources_of
from search.training.baseline_training import train_baselines
from search.training.plain_sizes_of import plain_sizes_of
from search.training.ppo_config import build_ppo

pytestmark = pytest.mark.ray

TOTAL = 4 * 16 + 16 * 16 + 16 * 2
FRONT = pd.DataFrame(
    {
        "snapshot_id": ["m00"],
        "sparsity": [1 - 40 / TOTAL],
        "nonzero_params": [40],
        "total_params": [TOTAL],
        "keeps_95": [True],
        "knee": [False],
        "goal": [False],
    }
)


# Kinds that need no dense policy to learn from.
ALONE = KINDS[:3]


def plan_baselines(config, front, known):
    return planned_with(config, front, known, plain_sizes_of(build_ppo(config)))


def experiment(activation="tanh", env="CartPole-v1", **more):
    return parse_config(
        {
            "name": "small",
            "env": env,
            "budget": {"env_steps": 2048},
            "population": {"members": 4, "segments": 2},
            "search": {"space": {"pruning.final_sparsity": {"type": "float", "low": 0.3, "high": 0.9}}},
            "evaluation": {"episodes": 3},
            "baselines": dict.fromkeys(KINDS, 0) | dict.fromkeys(ALONE, 1),
            "ppo": {
                "env_runners": {"num_envs_per_env_runner": 4},
                "training": {
                    "train_batch_size_per_learner": 256,
                    "minibatch_size": 128,
                    "num_epochs": 2,
                },
                "rl_module": {
                    "model_config": {
                        "fcnet_hiddens": [16, 16],
                        "fcnet_activation": activation,
                        "vf_share_layers": False,
                    }
                },
            },
            **more,
        },
        "small.yaml",
    )  # fmt: skip


@pytest.fixture(params=["pack", "rllib"])
def trained(request, tmp_path):
    """The archive with one baseline of each kind, and what was told of progress."""
    config = experiment()
    ppo = build_ppo(config)
    if request.param == "rllib":
        # Packs average nothing over whole episodes, so this is RLlib's to train.
        ppo.env_runners(batch_mode="complete_episodes")
    archive, told = Archive(tmp_path), []
    planned = plan_baselines(config, FRONT, {})
    train_baselines(config, ppo, archive, planned, lambda *count: told.append(count))
    return config, archive, planned, told


def test_each_kind_is_trained_for_a_horizon_and_kept(trained):
    config, archive, planned, told = trained
    found = archive.baselines()
    assert set(found) == {p.name for p in planned}
    assert not archive.events()
    assert told[-1] == (3, 3)
    for plan in planned:
        baseline = found[plan.name]
        assert baseline.kind == plan.kind
        assert baseline.level == "m00"
        assert config.horizon <= baseline.env_steps <= config.horizon + 600
        assert np.isfinite(baseline.search_return)
    masks = {
        kind: load_masks(archive.folder / b.checkpoint / "masks.npz")
        for kind, b in {b.kind: b for b in found.values()}.items()
    }
    kept = {
        kind: sum(
            int(m.sum()) for n, m in own.items() if "critic" not in n and not n.startswith("vf")
        )
        for kind, own in masks.items()
    }
    assert kept["random_masks"] == kept["train_then_prune"] == 40
    assert found["random_masks-40"].nonzero_params == 40
    assert found["train_then_prune-40"].sparsity == pytest.approx(1 - 40 / TOTAL)
    # Four units a layer: 4 · 4 + 4 · 4 + 2 · 4.
    small = found["small_dense-40"]
    assert (small.sparsity, small.nonzero_params, small.total_params) == (0.0, 40, 40)
    # No training state and no half-named policy stays behind.
    assert sorted(p.name for p in (archive.folder / "policies").iterdir()) == sorted(found)
    assert not list((archive.folder / "states").iterdir())
    for baseline in found.values():
        policy = load_policy(archive.folder / baseline.checkpoint)
        policy.begin([0])
        assert policy.act([0], [np.zeros(4, np.float32)], [0.0])[0] in (0, 1)
    assert plan_baselines(config, FRONT, found) == []


def test_a_baseline_that_fails_is_told_of_and_the_others_stand(tmp_path):
    config = experiment()
    archive = Archive(tmp_path)
    planned = plan_baselines(config, FRONT, {})
    # A learning rate that leaves no number whole.
    segment = dataclasses.replace(planned[0].segment, training={"lr": 1e38, "grad_clip": None})
    broken = dataclasses.replace(planned[0], segment=segment)
    recurrent = build_ppo(config).rl_module(model_config={"use_lstm": True, "max_seq_len": 4})
    train_baselines(config, build_ppo(config), archive, [broken, planned[2]], lambda *count: None)
    assert set(archive.baselines()) == {"train_then_prune-40"}
    (event,) = archive.events()
    assert (event["event"], event["member"]) == ("failure", "random_masks-40")
    assert json.dumps(archive.events())
    assert "no chain of linear layers" in plain_sizes_of(recurrent).refused["small_dense"]


def test_a_training_whose_environment_raises_begins_anew(tmp_path):
    mark = tmp_path / "raised"

    class Once(CartPoleEnv):
        def __init__(self, config=None):
            super().__init__()

        def step(self, action):
            if not mark.exists():
                mark.touch()
                raise ValueError("once")
            return super().step(action)

    config, archive = experiment(), Archive(tmp_path)
    ppo = build_ppo(config).environment(Once)
    planned = plan_baselines(config, FRONT, {})[:1]
    train_baselines(config, ppo, archive, planned, lambda *count: None)
    assert mark.is_file()
    (baseline,) = archive.baselines().values()
    assert baseline.env_steps >= config.horizon
    assert not archive.events()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("gpus", [0.0, 0.5])
def test_baselines_take_the_gpus_that_members_take(gpus, packed):
    config = experiment(resources={"cpus_per_member": 2.0, "gpus_per_member": gpus})
    taken = resources_of(config, Job((), build_ppo(config), packed)).required_resources
    assert taken == {"CPU": 2.0} | ({"GPU": gpus} if gpus else {})


SEVERAL = pd.DataFrame(
    {
        "snapshot_id": ["m00", "m01", "m02", "m03"],
        "sparsity": [1 - n / TOTAL for n in (90, 40, 9, 3)],
        "nonzero_params": [90, 40, 9, 3],
        "total_params": [TOTAL] * 4,
        "goal": [False] * 4,
        "keeps_95": [False, False, True, False],
        "knee": [False] * 4,
    }
)


def with_dense(config, folder):
    """The archive with a dense baseline that was trained for a moment."""
    archive = Archive(folder)
    checkpoint, score = dense_policy(folder, build_ppo(config), config.horizon)
    archive.add_baseline(
        Baseline(
            name="dense", description="", env_steps=1, wall_time=0.0, search_return=score,
            checkpoint=checkpoint,
        )
    )  # fmt: skip
    return archive


@pytest.mark.parametrize("engine", ["pack", "rllib"])
def test_plain_policies_are_trained_once_each_under_their_true_sizes(tmp_path, engine):
    config = experiment(
        baselines=dict.fromkeys(KINDS, 0) | {"small_dense": 4, "linear": 2, "tree": 2}
    )
    archive, told = with_dense(config, tmp_path), []
    ppo = build_ppo(config)
    if engine == "rllib":
        ppo.env_runners(batch_mode="complete_episodes")
    planned = plan_baselines(config, SEVERAL, {})
    jobs = jobs_of(config, ppo, planned)
    small = [job for job in jobs if job.planned[0].kind == "small_dense"]
    # Packs train three sizes at once; RLlib's processes one each.
    assert [len(job.planned) for job in small] == ([3] if engine == "pack" else [1, 1, 1])
    train_baselines(config, ppo, archive, planned, lambda *count: told.append(count))
    found = {name: b for name, b in archive.baselines().items() if b.kind}
    # A policy that has hardly learned may be a smaller tree than there is room for.
    assert {e["event"] for e in archive.events()} <= {"left_out"}
    names = set(found)
    assert {"small_dense-7", "small_dense-40", "small_dense-72", "linear-4", "linear-3"} <= names
    assert all(name == f"{b.kind}-{b.nonzero_params}" for name, b in found.items())
    trees = [b for b in found.values() if b.kind == "tree"]
    assert {b.unit for b in trees} == {"numbers"}
    assert all(b.flash_bytes > 0 and b.env_steps > 0 for b in trees)
    for baseline in found.values():
        policy = load_policy(archive.folder / baseline.checkpoint)
        policy.begin([0])
        assert policy.act([0], [np.zeros(4, np.float32)], [0.0])[0] in (0, 1)
    # What a process that was killed left is all there: nothing is trained again.
    plain = plain_sizes_of(ppo)
    assert planned_with(config, SEVERAL, archive.baselines(), plain, archive.left_out()) == []
