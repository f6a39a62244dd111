"""Measures the cost of pruning in return at equal steps: `make bench NAME=training`.

Each case trains a dense and a pruned policy from several seeds, the pruned one with sparsity that rises
during training, and plays fresh deterministic episodes with both. Retained is (pruned − random) ÷ (dense
− random) of the means. Cases are CartPole at 95 % weight sparsity, CartPole with a quarter of its hidden
units, a CNN on MinAtar Breakout and an LSTM on StatelessCartPole, both at 80 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole

from benchmarks.shared.arguments import one_of
from benchmarks.shared.cluster import start_ray
from rllib_ext import PruningConfig, with_pruning
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.minatar import MinAtar
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import random_policy_episodes
from rllib_ext.policy.store import policy_of
from rllib_ext.rl.callback import masks_of

FIRST_EVALUATION_SEED = 10**6


@dataclasses.dataclass(frozen=True)
class Case:
    """Environment, training and pruning of one case.

    Attributes:
        env: A Gymnasium id or a class.
        steps: Training env steps.
        training: Keyword arguments of `PPOConfig.training`.
        model: RLlib's `model_config`.
        pruning: Pruning configuration.
        target: Description of the result that is required.
        filtered: Whether observations are standardised (RLlib's MeanStdFilter).
        time_limit: Steps after which an evaluation episode is cut.
    """

    env: Any
    steps: int
    training: dict[str, Any]
    model: dict[str, Any]
    pruning: PruningConfig
    target: str
    filtered: bool = False
    time_limit: int = 2_000


_CARTPOLE = {"lr": 2e-3, "num_epochs": 6, "vf_clip_param": 1e4, "grad_clip": 0.5}
_MLP = {"fcnet_hiddens": [64, 64], "vf_share_layers": False}
_RISE = {"schedule": "cubic", "begin": 0.2, "end": 0.8}
CASES = {
    "cartpole-weights": Case(
        "CartPole-v1",
        100_000,
        _CARTPOLE,
        _MLP,
        PruningConfig(final_sparsity=0.95, horizon=100_000, **_RISE),
        "return ≥ 475",
    ),
    "cartpole-units": Case(
        "CartPole-v1",
        100_000,
        _CARTPOLE,
        _MLP,
        PruningConfig(
            final_sparsity=0.93,
            granularity="neuron",
            scope="layerwise",
            horizon=100_000,
            **_RISE,
        ),
        "75 % fewer hidden units, return ≥ 475",
    ),
    "breakout-cnn": Case(
        MinAtar,
        400_000,
        {"lr": 1e-3, "num_epochs": 4, "entropy_coeff": 0.01, "grad_clip": 0.5},
        {
            "conv_filters": [[16, 3, 1]],
            "conv_activation": "relu",
            "head_fcnet_hiddens": [64],
            "vf_share_layers": True,
        },
        PruningConfig(final_sparsity=0.8, horizon=400_000, **_RISE),
        "retained ≥ 0.95",
    ),
    "stateless-lstm": Case(
        StatelessCartPole,
        300_000,
        {
            "train_batch_size_per_learner": 4096,
            "minibatch_size": 512,
            "lr": 1e-3,
            "num_epochs": 8,
            # Values up to 100 would dominate the policy's gradient in the encoder that they share.
            "vf_loss_coeff": 0.05,
            "vf_clip_param": 10.0,
            "grad_clip": 0.5,
        },
        {
            "fcnet_hiddens": [32],
            "use_lstm": True,
            "lstm_cell_size": 32,
            "max_seq_len": 20,
            "vf_share_layers": True,
        },
        PruningConfig(final_sparsity=0.8, horizon=300_000, **_RISE),
        "retained ≥ 0.95",
        filtered=True,
        time_limit=500,
    ),
}


def main() -> None:
    """Trains the policies and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", type=one_of(CASES), default=list(CASES), help=", ".join(CASES)
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    start_ray(arguments.processes)
    jobs = {
        (name, seed, pruned): _train.remote(name, seed, pruned, arguments.episodes)
        for name in arguments.cases
        for seed in range(arguments.seeds)
        for pruned in (False, True)
    }
    print(f"{arguments.seeds} seeds, {arguments.episodes} fresh episodes each\n")
    for name in arguments.cases:
        random = ray.get(_random.remote(name, arguments.episodes))
        runs = {
            pruned: [ray.get(jobs[name, seed, pruned]) for seed in range(arguments.seeds)]
            for pruned in (False, True)
        }
        _print(name, random, runs)
    ray.shutdown()


def _print(name: str, random: float, runs: dict[bool, list[dict[str, Any]]]) -> None:
    case = CASES[name]
    print(f"{name}: {case.steps:,} env steps; held against: {case.target}")
    for pruned, label in ((False, "dense"), (True, "pruned")):
        found = runs[pruned]
        returns = ", ".join(f"{run['return']:.1f}" for run in found)
        sparsity = np.mean([run["sparsity"] for run in found])
        units = found[0]["units"]
        seconds = np.mean([run["seconds"] for run in found])
        note = f"; hidden units {units}" if pruned and units else ""
        print(f"  {label:8}returns {returns}; sparsity {sparsity:.3f}{note}; {seconds:.0f} s a run")
    dense, kept = (float(np.mean([run["return"] for run in runs[p]])) for p in (False, True))
    print(
        f"  random  {random:.1f}; retained {(kept - random) / (dense - random):.3f}\n", flush=True
    )


def _config(case: Case, seed: int) -> PPOConfig:
    connector = (lambda *_, **__: MeanStdFilter()) if case.filtered else None
    sizes = {"train_batch_size_per_learner": 2048, "minibatch_size": 256}
    return (
        PPOConfig()
        .environment(case.env)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=16,
            env_to_module_connector=connector,
        )
        .learners(num_learners=0)
        .training(**{**sizes, **case.training})
        .rl_module(model_config=case.model)
        .debugging(seed=10_000 * (seed + 1), log_level="ERROR")
    )


@ray.remote(num_cpus=1)
def _train(name: str, seed: int, pruned: bool, episodes: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    case = CASES[name]
    config = _config(case, seed)
    if pruned:
        config = with_pruning(config, case.pruning)
    algorithm = config.build_algo()
    began = time.perf_counter()
    steps, report = 0, {}
    while steps < case.steps:
        result = algorithm.train()
        steps = int(result["num_env_steps_sampled_lifetime"])
        report = result.get("pruning", {})
    seconds = time.perf_counter() - began
    evaluator = Evaluator(env_maker(config), case.time_limit)
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + episodes)
    found = evaluator.run(policy_of(algorithm), seeds)
    evaluator.close()
    units = _units(algorithm) if case.pruning.granularity != "weight" and pruned else ""
    algorithm.stop()
    return {
        "return": found.mean,
        "sparsity": report.get("sparsity", 0.0),
        "units": units,
        "seconds": seconds,
    }


def _units(algorithm: Any) -> str:
    """Returns how many hidden units of the policy path are left, and of how many."""
    masks = masks_of(algorithm)
    hidden = [m for n, m in masks.items() if "actor_encoder" in n and n.endswith("weight")]
    left = sum(int(mask.any(dim=1).sum()) for mask in hidden)
    return f"{left} of {sum(mask.shape[0] for mask in hidden)}"


@ray.remote(num_cpus=1)
def _random(name: str, episodes: int) -> float:
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + episodes)
    return random_policy_episodes(_config(CASES[name], 0), seeds).mean


if __name__ == "__main__":
    main()
