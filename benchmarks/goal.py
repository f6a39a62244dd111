"""Compares the same search with and without a goal: `make bench NAME=goal`.

A pair is two searches with the same seed, without Ray's cluster: same env steps, evaluations, candidates
and fresh seeds; one has `goal: {max_weights: …}`, the other doesn't. For each search the table shows how
many re-evaluated policies have between half and all of the allowed weights, and the return of the policy
that fits: chosen by selection episodes, measured by report episodes. What a goal costs elsewhere shows
in the hypervolume over decades of density. A run appends a row to a CSV; a run that has a row is not
repeated.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

from benchmarks.shared.rows import append_row, rows_done
from benchmarks.shared.searched import search_here
from search.config.experiment import ExperimentConfig
from search.config.goal import GoalSettings
from search.config.loading import parse_config
from search.front.aim import LEAST_OF_LIMIT
from search.front.confirmed_front import Front

# By environment: number of allowed weights, and iterations of 512 env steps per segment.
CASES = {"CartPole-v1": (6, 12), "Acrobot-v1": (8, 24)}
MEMBERS, SEGMENTS, BATCH = 8, 8, 512
COLUMNS = ("env", "seed", "goal", "near", "fits", "over_decades", "dense", "seconds")


def main() -> None:
    """Runs what has no row yet, then prints the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = arguments.output / "runs.csv"
    for env, seed, goal in itertools.product(arguments.envs, arguments.seeds, (True, False)):
        if (env, seed, goal) not in rows_done(rows, ("env", "seed", "goal")):
            append_row(rows, COLUMNS, row := _run(env, seed, goal, arguments.output))
            print(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
    for env in arguments.envs:
        print(_table(env, pd.read_csv(rows)))


def experiment(env: str, seed: int, goal: bool) -> ExperimentConfig:
    """Returns the search of one run.

    Args:
        env: One of `CASES`.
        seed: Seed of the search.
        goal: Whether it has a goal.
    """
    weights, iterations = CASES[env]
    horizon = SEGMENTS * iterations * BATCH
    return parse_config(
        {
            "name": f"{env}-{seed}-{'goal' if goal else 'none'}",
            "env": env,
            "engine": "packed",
            "seed": seed,
            "goal": {"max_weights": weights} if goal else {},
            "budget": {"env_steps": MEMBERS * horizon, "horizon": horizon},
            "population": {"members": MEMBERS, "segments": SEGMENTS},
            "ppo": {
                "env_runners": {"num_envs_per_env_runner": 8},
                "training": {
                    "train_batch_size_per_learner": BATCH, "minibatch_size": 256, "num_epochs": 12,
                    "lr": 2.5e-3, "entropy_coeff": 0.01, "clip_param": 0.2, "vf_clip_param": 1e4,
                    "grad_clip": 0.5, "gamma": 0.99, "lambda_": 0.95,
                },
                "rl_module": {
                    "model_config": {
                        "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False,
                    }
                },
            },
            "pruning": {"schedule": "cubic", "begin": 0.2, "end": 0.8},
            "search": {
                "space": {
                    "pruning.final_sparsity": {
                        "type": "float", "low": 0.8, "high": 0.9995, "scale": "log_density",
                    },
                    "pruning.end": {"type": "float", "low": 0.5, "high": 1.0},
                    "training.lr": {"type": "float", "low": 5e-4, "high": 1e-2, "scale": "log"},
                },
            },
            "evaluation": {
                "interval": iterations // 2, "episodes": 5, "candidates": 12,
                "selection_episodes": 30, "report_episodes": 50,
            },
        },
        "the benchmark",
    )  # fmt: skip


def _run(env: str, seed: int, goal: bool, output: Path) -> dict[str, Any]:
    config = experiment(env, seed, goal)
    found = search_here(
        config, output / config.name, MEMBERS, goal=GoalSettings(max_weights=CASES[env][0])
    )
    front = found.front
    return {
        "env": env, "seed": seed, "goal": goal, **_at_the_goal(front, CASES[env][0]),
        "over_decades": front.hypervolumes[1],
        "dense": float(front.baselines.set_index("name").loc["dense", "return_mean"]),
        "seconds": found.seconds,
    }  # fmt: skip


def _at_the_goal(front: Front, most: int) -> dict[str, float]:
    """Returns the number of candidates near the goal and the best fitting return, or the floor."""
    weights = front.candidates["nonzero_params"]
    fitting = front.table.loc[front.table["goal"], "return_mean"]
    return {
        "near": int(weights.between(LEAST_OF_LIMIT * most, most).sum()),
        "fits": float(fitting.iloc[0]) if len(fitting) else front.scale.floor,
    }


def _table(env: str, runs: pd.DataFrame) -> str:
    own = runs[runs["env"] == env].pivot(index="seed", columns="goal")
    lines = [
        f"{env}, at most {CASES[env][0]} weights, {len(own)} pairs: with goal, without, difference"
    ]
    for name in ("near", "fits", "over_decades"):
        with_goal, without = own[name][True], own[name][False]
        gain = with_goal - without
        error = 2.0 * gain.std(ddof=1) / np.sqrt(len(gain))
        lines.append(
            f"  {name:13}{with_goal.mean():8.2f}{without.mean():8.2f}{gain.mean():+8.2f} ± {error:.2f}, "
            f"better in {int((gain > 0).sum())}, worse in {int((gain < 0).sum())}"
        )
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--output", type=Path, default=Path("results/bench-goal"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
