"""Compares searches with and without one setting: `make bench NAME=ablation`.

`--of criterion=lamp` overrides configuration keys in one arm and leaves them unchanged in the other
(`--against` gives that arm values of its own, `--both` sets what the two share). A pair is two searches
with the same seed, without Ray's cluster: same env steps, evaluations, candidates and fresh seeds. A
run appends a row to a CSV; a run that has a row is not repeated, so ablations share the arm without the
setting. Rows of searches with other settings than today's are left out. The search is one of the cases
below or a configuration file, such as `--envs configs/halfcheetah.yaml`. With `--trained` the searches
of both arms start from a dense policy, one per environment, which RLlib trains for one member's
horizon: `--trained --of distil=0.5`.

Two measures are compared. The first is the number of weights, in decades, of the smallest policy that
keeps 95 % or 99 % of what the dense policy gains over a random one (the dense policy's if none does).
The second is the hypervolume of the re-evaluated front, over decades of density and over sparsity.
Returns are put on one scale per environment, as in `benchmarks.search`. Each paired difference is shown
with the smallest true difference that this number of pairs would detect in four of five ablations, given
the deviation found: look at it after a few seeds, before running the rest.
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

from benchmarks.shared import searched
from benchmarks.shared.arguments import one_of_or_a_file
from benchmarks.shared.cases import CASES, MEMBERS, name_of, settings_of, values_of
from benchmarks.shared.dense_checkpoint import dense_checkpoint
from benchmarks.shared.front_tables import (
    TITLES,
    common_scale,
    gain,
    is_of_weights,
    measured,
    shown_mean,
    visible,
)
from benchmarks.shared.intervals import paired_comparisons
from benchmarks.shared.rows import append_row, rows_done, rows_of
from benchmarks.shared.searched import search_here
from rllib_ext import PruningConfig
from search.config.experiment import ExperimentConfig
from search.config.loading import override_value, parse_config

# Columns that identify a run, and all columns of its row.
NAMES = ("env", "arm", "seed", "budget", "settings")
COLUMNS = (*NAMES, *searched.COLUMNS)
# Override of arms that start from a trained policy. Its value is replaced by the checkpoint's folder,
# which would give an arm another name on every machine.
TRAINED = "init_checkpoint=trained"


def main() -> None:
    """Runs what has no row yet, then prints the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = arguments.output / "runs.csv"
    shared = [*arguments.both, *([TRAINED] if arguments.trained else [])]
    arms = [[*shared, *own] for own in (arguments.of, arguments.against)]
    on, off = map(arm_of, arms)
    wanted = itertools.product(arguments.seeds, arguments.envs, arms)
    for seed, env, overrides in [] if arguments.table_only else wanted:
        name, arm = name_of(env), arm_of(overrides)
        checkpoint = _checkpoint(env, arguments) if arguments.trained else None
        config = experiment(env, overrides, seed, arguments.budget, checkpoint)
        names = {"env": name, "arm": arm, "seed": seed, "budget": config.budget.env_steps}
        names["settings"] = settings_of(env)
        if tuple(names.values()) in rows_done(rows, NAMES):
            continue
        if checkpoint:
            dense_checkpoint(experiment(env, arguments.both, 0, arguments.budget), checkpoint)
        found = search_here(config, arguments.output / config.name, MEMBERS)
        row = {**names, **found.row()}
        append_row(rows, COLUMNS, row)
        print(
            f"{name} {arm} seed {seed}: {row['over_decades']:.3f} ({row['seconds']:.0f} s)",
            flush=True,
        )
    if rows.is_file():
        envs = {name_of(env): env for env in arguments.envs}
        asked = {"env": list(envs), "arm": [on, off], "seed": arguments.seeds}
        runs = rows_of(rows, asked, lambda row: settings_of(envs[row["env"]]))
        print_ablation(runs, on, off, arguments.confidence)


def _checkpoint(env: str, arguments: argparse.Namespace) -> Path:
    config = experiment(env, arguments.both, 0, arguments.budget)
    return Path(arguments.output / f"{config.name}-dense-{config.horizon}")


def arm_of(overrides: Sequence[str]) -> str:
    """Returns the name of an arm: its overrides with full keys, in alphabetical order."""
    return " ".join(sorted(map(_in_full, overrides))) or "as it is"


def experiment(
    env: str,
    overrides: Sequence[str],
    seed: int,
    budget: int | None,
    checkpoint: Path | None = None,
) -> ExperimentConfig:
    """Returns the search of one run.

    Args:
        env: One of `CASES`, or a configuration file.
        overrides: "key=value" as on the command line; for a pruning setting its name alone suffices.
            `TRAINED` makes the search start from `checkpoint`.
        seed: Seed of the search.
        budget: Training env steps of all members; None means those of the case, or of file and
            overrides.
        checkpoint: Folder of the dense policy that `TRAINED` refers to.

    Raises:
        ConfigError: A key is unknown, or a value is wrong.
    """
    values = values_of(env, seed, budget)
    values["name"] = f"{name_of(env)}-{seed}-{zlib.crc32(arm_of(overrides).encode()):08x}"
    for override in overrides:
        override_value(values, _in_full(override))
    if TRAINED in overrides:
        values["init_checkpoint"] = str(checkpoint)
    return parse_config(values, "the ablation")


def _in_full(override: str) -> str:
    key = override.partition("=")[0]
    return f"pruning.{override}" if key in PruningConfig.__dataclass_fields__ else override


def print_ablation(runs: pd.DataFrame, on: str, off: str, confidence: float) -> None:
    """Prints a table for each environment and budget, of the seeds that both arms have.

    Args:
        runs: One row per search, with `COLUMNS`.
        on: Name of the arm with the setting.
        off: Name of the arm without it.
        confidence: Joint confidence of the intervals of all differences shown, in (0, 1).
    """
    print(f"with: {on}\nwithout: {off}")
    tables = {}
    for (env, budget), group in runs.groupby(["env", "budget"]):
        title = f"{env}, {budget:,} env steps a search"
        scale = common_scale(group.rename(columns={"arm": "strategy"}))
        if scale.note:
            print(f"\n{title}: {scale.note}")
            continue
        found = measured(group, scale)
        pairs = {
            name: found.pivot(index="seed", columns="arm", values=name)
            .reindex(columns=[on, off])
            .dropna()
            for name in TITLES
        }
        if len(pairs["over_decades"]):
            spent = group.groupby("arm")["env_steps"].mean()
            tables[f"{title} (spent: {spent[on]:,.0f} with, {spent[off]:,.0f} without)"] = pairs
    differences = [_gain(name, p) for pairs in tables.values() for name, p in pairs.items()]
    compared = iter(paired_comparisons(differences, confidence))
    for title, pairs in tables.items():
        print(f"\n{title}, {len(pairs['over_decades'])} pairs")
        _print_rows(pairs, compared, confidence)


def _gain(measure: str, pair: pd.DataFrame) -> np.ndarray:
    return gain(measure, pair.iloc[:, 0], pair.iloc[:, 1])


def _print_rows(pairs: dict[str, pd.DataFrame], compared: Any, confidence: float) -> None:
    print(f"  {'':<44}{'with':>10}{'without':>10}{'better by':>11}", end="")
    print(f"{f'Bonferroni {confidence:.0%} interval':>27}{'Holm p':>9}{'visible':>9}{'wins':>7}")
    for measure, pair in pairs.items():
        better = _gain(measure, pair)
        low, high, p = next(compared)
        shown = [shown_mean(measure, mean) for mean in pair.mean()]
        title = TITLES[measure] + (", decades fewer" if is_of_weights(measure) else "")
        wins = f"{int((better > 0).sum())}/{len(better)}"
        print(f"  {title:<44}{shown[0]:>10}{shown[1]:>10}{better.mean():>+11.3f}", end="")
        print(f"{f'{low:+.3f} to {high:+.3f}':>27}{p:>9.3f}", end="")
        print(f"{visible(better, confidence):>9.3f}{wins:>7}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--of", nargs="+", required=True, metavar="KEY=VALUE", help="with")
    parser.add_argument("--against", nargs="*", default=[], metavar="KEY=VALUE", help="without")
    parser.add_argument("--both", nargs="*", default=[], metavar="KEY=VALUE", help="in both arms")
    parser.add_argument("--trained", action="store_true", help="both start from a dense policy")
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
