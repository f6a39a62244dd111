"""Every strategy on the same budget: `make bench NAME=search`.

One run is one search of one strategy with one search seed, without Ray's cluster: the coordinator hands
its segments to packs in this process, one pack at a time. All strategies of a seed get the same training
env steps, evaluations – two a member and segment – and candidates, which are evaluated again on the
same fresh seeds. The strategies that rank members share one growing population; what they do with it is
the one setting apart. A run appends one row to a CSV; what has a row is not run again,
so that an interrupted benchmark goes on. The tables are made from the CSV alone.

What is compared is the hypervolume of the re-evaluated front: over (retained, decades of density) and
over (retained, sparsity). Returns are put on one scale an environment: from the random policy to the
mean of the distinct dense baselines of its searches, each of one member's horizon. Intervals are
Bonferroni's, p values Holm's.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch

from benchmarks.shared import searched
from benchmarks.shared.front_tables import print_tables
from benchmarks.shared.rows import append_row, rows_done
from benchmarks.shared.searched import search_here
from search.config.experiment import RANKING, ExperimentConfig
from search.config.loading import parse_config
from search.population.strategies import STRATEGIES

MEMBERS, SEGMENTS = 8, 8
# Of the strategies that rank members: a quarter of them begins, and the env steps that this saves make
# lineages nearly twice as long.
FOUNDERS, SEGMENTS_OF_GROWING = 0.25, 15
# Trials of `optuna` that begin before the first of them has ended.
OPTUNA_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment, with a budget in which one member alone learns it (a dense one, on the whole).

    Attributes:
        batch: Env steps of an iteration.
        iterations: Of a segment; a member is evaluated halfway through it and at its end.
        training: What else PPO is told.
    """

    batch: int
    iterations: int
    training: dict[str, Any]

    @property
    def budget(self) -> int:
        """Training env steps of all members of a search."""
        return MEMBERS * SEGMENTS * self.iterations * self.batch


ENVIRONMENTS = {
    "Acrobot-v1": Case(512, 24, {"gamma": 0.99, "lambda_": 0.95}),
    "LunarLander-v3": Case(1024, 12, {"gamma": 0.999, "lambda_": 0.98}),
    "Pendulum-v1": Case(1024, 10, {"gamma": 0.9, "lambda_": 0.95, "entropy_coeff": 0.0}),
}
# Pendulum was never looked at while the strategies were made.
DEVELOPED_ON = ("Acrobot-v1", "LunarLander-v3")
# What names a run, and all columns of its row.
NAMES = ("env", "strategy", "seed", "budget")
COLUMNS = (*NAMES, *searched.COLUMNS)
OURS = "pareto_pbt"


def main() -> None:
    """Runs what has no row yet, then prints the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = arguments.output / "runs.csv"
    wanted = itertools.product(arguments.seeds, arguments.envs, arguments.strategies)
    for seed, env, strategy in [] if arguments.table_only else wanted:
        budget = arguments.budget or ENVIRONMENTS[env].budget
        if (env, strategy, seed, budget) in rows_done(rows, NAMES):
            continue
        row = _run(env, strategy, seed, budget, arguments.output)
        append_row(rows, COLUMNS, row)
        print(
            f"{env} {strategy} seed {seed}: {row['over_decades']:.3f} {row['over_sparsity']:.3f} "
            f"({row['points']} points, dense {row['dense']:.1f}, {row['seconds']:.0f} s)",
            flush=True,
        )
    if rows.is_file():
        runs = pd.read_csv(rows)
        for column, asked in (
            ("env", arguments.envs),
            ("strategy", arguments.strategies),
            ("seed", arguments.seeds),
        ):
            runs = runs[runs[column].isin(asked)]
        print_tables(runs, OURS, arguments.confidence)


def experiment(env: str, strategy: str, seed: int, budget: int) -> ExperimentConfig:
    """The search of one run.

    Args:
        env: One of `ENVIRONMENTS`.
        strategy: Its strategy.
        seed: Its seed.
        budget: Training env steps of all members.
    """
    return parse_config(values_of(env, ENVIRONMENTS[env], strategy, seed, budget), "the benchmark")


def values_of(env: str, case: Case, strategy: str, seed: int, budget: int) -> dict[str, Any]:
    """The same as plain values, as in YAML, of any case."""
    segments = SEGMENTS_OF_GROWING if strategy in RANKING else SEGMENTS
    horizon = segments * case.iterations * case.batch
    return {
        "name": f"{env}-{strategy}-{seed}",
        "env": env,
        "engine": "packed",
        "seed": seed,
        "budget": {"env_steps": budget, "horizon": horizon},
        "population": {"members": MEMBERS, "segments": segments},
        "ppo": {
            "env_runners": {"num_envs_per_env_runner": 8},
            "training": {
                "train_batch_size_per_learner": case.batch, "minibatch_size": 256,
                "num_epochs": 12, "lr": 2.5e-3, "entropy_coeff": 0.01, "clip_param": 0.2,
                "vf_clip_param": 1e4, "grad_clip": 0.5, **case.training,
            },
            "rl_module": {
                "model_config": {
                    "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False,
                }
            },
        },
        "pruning": {"schedule": "cubic", "begin": 0.2, "end": 0.8},
        "search": {
            "strategy": strategy,
            "founders": FOUNDERS,
            "space": {
                "pruning.final_sparsity": {
                    "type": "float", "low": 0.5, "high": 0.998, "scale": "log_density",
                },
                "pruning.begin": {"type": "float", "low": 0.05, "high": 0.4},
                "pruning.end": {"type": "float", "low": 0.5, "high": 1.0},
                "training.lr": {"type": "float", "low": 5e-4, "high": 1e-2, "scale": "log"},
                "training.entropy_coeff": {
                    "type": "float", "low": 1e-4, "high": 3e-2, "scale": "log",
                },
            },
        },
        "evaluation": {
            "interval": case.iterations // 2, "episodes": 5, "candidates": 12,
            "selection_episodes": 20, "report_episodes": 30,
        },
    }  # fmt: skip


def _run(env: str, strategy: str, seed: int, budget: int, output: Path) -> dict[str, Any]:
    config = experiment(env, strategy, seed, budget)
    size = OPTUNA_AT_ONCE if strategy == "optuna" else MEMBERS
    found = search_here(config, output / config.name, size)
    return {"env": env, "strategy": strategy, "seed": seed, "budget": budget, **found.row()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", nargs="+", default=DEVELOPED_ON, choices=list(ENVIRONMENTS))
    parser.add_argument(
        "--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=int, help="training env steps of a search")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--output", type=Path, default=Path("results/bench-search"))
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
