"""What one setting is worth: searches with and without it, `make bench NAME=ablation`.

`--of criterion=lamp` overrides configuration keys in one arm and leaves them as they are in the other
(`--against` gives that one values of its own, `--both` sets what the two share). A pair is two searches
of one seed, without Ray's cluster: same env steps, evaluations, candidates and fresh seeds. A run
appends a row to a CSV; what has a row is not run again, so that ablations share the arm without.
Searched is one of the cases below, or a configuration file (`--envs configs/halfcheetah.yaml`).

Compared are the weights that the smallest policy has that keeps 95 % or 99 % of what the dense policy
gains over a random one – where none does, the dense policy's – in decades, and the hypervolume of the
re-evaluated front over decades of density and over sparsity. Returns are put on one scale an
environment, as in `benchmarks.search`. Beside each paired difference stands the smallest true one that
so many pairs see in four of five ablations, by the deviation found: look at it after a few seeds, before
running the rest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

from benchmarks.search import ENVIRONMENTS, MEMBERS, OURS, Case, values_of
from benchmarks.shared import searched
from benchmarks.shared.arguments import one_of_or_a_file
from benchmarks.shared.front_tables import SCORES, common_scale, points_of, with_hypervolumes
from benchmarks.shared.intervals import paired_comparisons, smallest_visible
from benchmarks.shared.rows import append_row, rows_done
from benchmarks.shared.searched import search_here
from rllib_ext import PruningConfig
from search.config.experiment import ExperimentConfig
from search.config.loading import override_value, parse_config, read_values
from search.front.retained import Scale

CASES = {"CartPole-v1": Case(512, 12, {"gamma": 0.99, "lambda_": 0.95}), **ENVIRONMENTS}
SHARES = (0.95, 0.99)
# What names a run, and all columns of its row.
NAMES = ("env", "arm", "seed", "budget")
COLUMNS = (*NAMES, *searched.COLUMNS)


def main() -> None:
    """Runs what has no row yet, then prints the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = arguments.output / "runs.csv"
    arms = [[*arguments.both, *own] for own in (arguments.of, arguments.against)]
    on, off = map(arm_of, arms)
    wanted = itertools.product(arguments.seeds, arguments.envs, arms)
    for seed, env, overrides in [] if arguments.table_only else wanted:
        config = experiment(env, overrides, seed, arguments.budget)
        budget = config.budget.env_steps
        name, arm = name_of(env), arm_of(overrides)
        if (name, arm, seed, budget) in rows_done(rows, NAMES):
            continue
        found = search_here(config, arguments.output / config.name, MEMBERS)
        row = {"env": name, "arm": arm, "seed": seed, "budget": budget, **found.row()}
        append_row(rows, COLUMNS, row)
        print(
            f"{name} {arm} seed {seed}: {row['over_decades']:.3f} ({row['seconds']:.0f} s)",
            flush=True,
        )
    if rows.is_file():
        runs = pd.read_csv(rows)
        runs = runs[
            runs["env"].isin(map(name_of, arguments.envs)) & runs["seed"].isin(arguments.seeds)
        ]
        print_ablation(runs, on, off, arguments.confidence)


def arm_of(overrides: Sequence[str]) -> str:
    """The name of an arm: its overrides, of keys in full, in alphabetic order."""
    return " ".join(sorted(map(_in_full, overrides))) or "as it is"


def name_of(env: str) -> str:
    """How rows name one of `CASES` or a configuration file."""
    return env if env in CASES else Path(env).stem


def experiment(
    env: str, overrides: Sequence[str], seed: int, budget: int | None
) -> ExperimentConfig:
    """The search of one run.

    Args:
        env: One of `CASES`, or a configuration file.
        overrides: "key=value" as on the command line; of a pruning setting its name alone will do.
        seed: Its seed.
        budget: Training env steps of all members; None: those of the case, or of file and overrides.

    Raises:
        ConfigError: A key is unknown, or a value is wrong.
    """
    if env in CASES:
        values = values_of(env, CASES[env], OURS, seed, budget or CASES[env].budget)
    else:
        # Packs search in this process, whatever the file leaves open.
        values = {**read_values(Path(env)), "engine": "packed", "seed": seed}
    values["name"] = f"{name_of(env)}-{seed}-{zlib.crc32(arm_of(overrides).encode()):08x}"
    given = [f"budget.env_steps={budget}"] if budget else []
    for override in [*overrides, *given]:
        override_value(values, _in_full(override))
    return parse_config(values, "the ablation")


def _in_full(override: str) -> str:
    key = override.partition("=")[0]
    return f"pruning.{override}" if key in PruningConfig.__dataclass_fields__ else override


def print_ablation(runs: pd.DataFrame, on: str, off: str, confidence: float) -> None:
    """Prints a table an environment and budget, of the seeds that both arms have.

    Args:
        runs: A row a search, with `COLUMNS`.
        on: The arm with the setting.
        off: The arm without.
        confidence: Of the intervals of all differences shown together, in (0, 1).
    """
    print(f"with: {on}\nwithout: {off}")
    tables = {}
    for (env, budget), group in runs[runs["arm"].isin([on, off])].groupby(["env", "budget"]):
        title = f"{env}, {budget:,} env steps a search"
        scale = common_scale(group.rename(columns={"arm": "strategy"}))
        if scale.note:
            print(f"\n{title}: {scale.note}")
            continue
        measured = measures(group, scale)
        pairs = {
            name: measured.pivot(index="seed", columns="arm", values=name)
            .reindex(columns=[on, off])
            .dropna()
            for name in (*map(_needs, SHARES), *SCORES)
        }
        if len(pairs["over_decades"]):
            spent = group.groupby("arm")["env_steps"].mean()
            tables[f"{title} (spent: {spent[on]:,.0f} with, {spent[off]:,.0f} without)"] = pairs
    differences = [_gain(name, p) for pairs in tables.values() for name, p in pairs.items()]
    compared = iter(paired_comparisons(differences, confidence))
    for title, pairs in tables.items():
        print(f"\n{title}, {len(pairs['over_decades'])} pairs")
        _print_rows(pairs, compared, confidence)


def measures(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows of searches with what is compared: hypervolumes, and weights needed, as log10."""
    measured = with_hypervolumes(runs, scale)
    for share in SHARES:
        needed = [
            weights_needed(points_of(text), scale, share) for text in runs["front"].fillna("")
        ]
        measured[_needs(share)] = np.log10(needed)
    return measured


def weights_needed(points: np.ndarray, scale: Scale, share: float) -> float:
    """The fewest weights that keep a share of the dense policy's return.

    Args:
        points: As `front_tables.points_of` gives them.
        scale: Of returns.
        share: Of what the dense policy gains over a random one.

    Returns:
        A number ≥ 1; of a front without such a point, all weights; NaN without any point.
    """
    if not len(points):
        return float("nan")
    weights = np.round((1.0 - points[:, 1]) * points[:, 2])
    keeping = weights[scale.retained(points[:, 0]) >= share]
    return float(max(1.0, keeping.min() if len(keeping) else points[:, 2].max()))


def _needs(share: float) -> str:
    return f"weights_{share:.0%}"


def _gain(name: str, pair: pd.DataFrame) -> np.ndarray:
    """Differences, on − off; of weights, by how many decades fewer there are with the setting."""
    difference = (pair.iloc[:, 0] - pair.iloc[:, 1]).to_numpy()
    return -difference if name.startswith("weights") else difference


def _print_rows(pairs: dict[str, pd.DataFrame], compared: Any, confidence: float) -> None:
    print(f"  {'':<34}{'with':>10}{'without':>10}{'better by':>11}", end="")
    print(f"{f'Bonferroni {confidence:.0%} interval':>27}{'Holm p':>9}{'visible':>9}{'wins':>7}")
    for name, pair in pairs.items():
        gain = _gain(name, pair)
        low, high, p = next(compared)
        means = pair.mean().to_numpy()
        if name.startswith("weights"):
            title = f"weights for {name.removeprefix('weights_')}, decades fewer"
            shown = [f"{10**mean:,.0f}" for mean in means]
        else:
            title, shown = SCORES[name], [f"{mean:.3f}" for mean in means]
        # Where no two pairs differ, their deviation isn't known.
        deviation = float(np.std(gain, ddof=1)) if np.ptp(gain) > 0.0 else float("nan")
        visible = smallest_visible(deviation, len(gain), confidence=confidence)
        wins = f"{int((gain > 0).sum())}/{len(gain)}"
        print(f"  {title:<34}{shown[0]:>10}{shown[1]:>10}{gain.mean():>+11.3f}", end="")
        print(f"{f'{low:+.3f} to {high:+.3f}':>27}{p:>9.3f}{visible:>9.3f}{wins:>7}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--of", nargs="+", required=True, metavar="KEY=VALUE", help="with")
    parser.add_argument("--against", nargs="*", default=[], metavar="KEY=VALUE", help="without")
    parser.add_argument("--both", nargs="*", default=[], metavar="KEY=VALUE", help="in both arms")
    parser.add_argument(
        "--envs",
        nargs="+",
        default=["CartPole-v1"],
        type=one_of_or_a_file(CASES),
        help=f"{', '.join(CASES)} or a configuration file",
    )
    parser.add_argument("--seeds", type=int, default=10, help="pairs an environment (default 10)")
    parser.add_argument("--budget", type=int, help="training env steps of a search")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--output", type=Path, default=Path("results/bench-ablation"))
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    found = parser.parse_args()
    found.seeds = range(found.seeds)
    return found


if __name__ == "__main__":
    main()
