"""Compares every search strategy on the same budget: `make bench NAME=search`.

One run is one search of one strategy with one search seed, without Ray's cluster: the coordinator hands
its segments to packs in this process, one pack at a time. With the same seed, all strategies get the
same training env steps, evaluations – two per member and segment – and number of candidates, which are
re-evaluated on the same fresh seeds. The strategies that rank members share one growing population; what
they do with it is the only setting that differs. A run appends one row to a CSV; a run that has a row
is not repeated, so an interrupted benchmark can be continued. The tables are made from the CSV alone;
rows of searches with other settings than today's are left out.

Two measures are compared. The first is the number of weights, in decades, of the smallest policy that
keeps 95 % or 99 % of the dense policy's return (the dense policy's if none does). The second is the
hypervolume of the re-evaluated front: over (retained, decades of density) and over (retained, sparsity).
Returns are put on one scale per environment: from the random policy to the mean of the distinct dense
baselines of its searches, each trained for one member's horizon. Intervals are Bonferroni's, p values
Holm's; "visible" is the smallest true difference that this number of seeds would detect in four of five
comparisons. `--envs` takes configuration files too.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.shared import searched
from benchmarks.shared.arguments import one_of_or_a_file
from benchmarks.shared.cases import CASES, MEMBERS, OURS, name_of, settings_of, values_of
from benchmarks.shared.front_tables import print_tables
from benchmarks.shared.rows import append_row, rows_done, rows_of
from benchmarks.shared.searched import search_here
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config
from search.population.strategies import STRATEGIES

# Number of `optuna` trials that start before the first of them has ended.
OPTUNA_AT_ONCE = 2
# Pendulum was not used while the strategies were developed.
DEVELOPED_ON = ("Acrobot-v1", "LunarLander-v3")
# Arms that are compared, as values of `search`: the strategies, and ours with random proposals.
ARMS: dict[str, dict[str, Any]] = {
    **{name: {"strategy": name} for name in STRATEGIES},
    "unguided": {"strategy": OURS, "sampler": "random"},
}
# Columns that identify a run, and all columns of its row.
NAMES = ("env", "strategy", "seed", "budget", "settings")
COLUMNS = (*NAMES, *searched.COLUMNS)


def main() -> None:
    """Runs what has no row yet, then prints the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = arguments.output / "runs.csv"
    wanted = itertools.product(arguments.seeds, arguments.envs, arguments.strategies)
    for seed, env, strategy in [] if arguments.table_only else wanted:
        config = experiment(env, strategy, seed, arguments.budget)
        names = {"env": name_of(env), "strategy": strategy, "seed": seed}
        names["budget"] = config.budget.env_steps
        names["settings"] = _settings(env, strategy)
        if tuple(names.values()) in rows_done(rows, NAMES):
            continue
        size = OPTUNA_AT_ONCE if strategy == "optuna" else MEMBERS
        found = search_here(config, arguments.output / config.name, size)
        row = {**names, **found.row()}
        append_row(rows, COLUMNS, row)
        print(
            f"{names['env']} {strategy} seed {seed}: {row['over_decades']:.3f} "
            f"{row['over_sparsity']:.3f} ({row['points']} points, dense {row['dense']:.1f}, "
            f"{row['seconds']:.0f} s)",
            flush=True,
        )
    if rows.is_file():
        envs = {name_of(env): env for env in arguments.envs}
        asked = {"env": list(envs), "strategy": arguments.strategies, "seed": arguments.seeds}
        runs = rows_of(rows, asked, lambda row: _settings(envs[row["env"]], row["strategy"]))
        print_tables(runs, OURS, arguments.confidence)


def experiment(env: str, strategy: str, seed: int, budget: int | None = None) -> ExperimentConfig:
    """Returns the search of one run.

    Args:
        env: One of `CASES`, or a configuration file.
        strategy: One of `ARMS`.
        seed: Seed of the search.
        budget: Training env steps of all members; None means those of the case or file.
    """
    values = values_of(env, seed, budget, ARMS[strategy]["strategy"])
    values["search"] = {**values["search"], **ARMS[strategy]}
    values["name"] = f"{name_of(env)}-{strategy}-{seed}"
    return parse_config(values, "the benchmark")


def _settings(env: str, strategy: str) -> str:
    return settings_of(env, ARMS[strategy]["strategy"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--envs",
        nargs="+",
        default=DEVELOPED_ON,
        type=one_of_or_a_file(CASES),
        help=f"{', '.join(CASES)} or a configuration file",
    )
    parser.add_argument("--strategies", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=int, help="training env steps of a search")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--output", type=Path, default=Path("results/bench-search"))
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
