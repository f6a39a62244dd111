"""Compares pruning that counts live weights with pruning that counts kept ones: `make bench NAME=live`.

Members of one pack prune to the same numbers of weights, half of them counting the weights at work
(`count: live`), half all that the masks keep (`count: kept`); the members of a pair differ in nothing
else. At the end each plays fresh deterministic episodes. For each number of weights the first table
shows the mean returns, how many of the kept weights are at work, and the paired difference (live − kept)
with Student's 95 % interval over seeds. The second shows the weights that each way needs for a share of
what the dense policy gains over a random one, as the median over resampled seeds with a 95 % interval.

A finished pack is one row per member in live.csv under --output, and is not trained again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import pandas as pd
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from benchmarks.learning import CASES, COMMON, ENVS, MODEL
from benchmarks.shared.arguments import one_of
from benchmarks.shared.intervals import paired_comparisons
from rllib_ext import PruningConfig
from rllib_ext.evaluation.reference import random_policy_episodes
from rllib_ext.packed.pack import Pack
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.probing import probe_of

COUNTS = ("live", "kept")
LEVELS = (200, 100, 50, 20, 10)
EVALUATION_SEED = 10**6
RESAMPLES = 2_000


def main() -> None:
    """Trains the packs that are missing and prints the tables."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = arguments.output / "live.csv"
    for env in arguments.envs:
        steps = round(CASES[env].steps * arguments.scale)
        known = _rows(table, env, steps)
        for seed in sorted(set(range(arguments.seeds)) - set(known["seed"])):
            fresh = pd.DataFrame(_trained(env, steps, seed, arguments.episodes))
            fresh.to_csv(table, mode="a", header=not table.exists(), index=False)
        rows = _rows(table, env, steps)
        seeds = range(EVALUATION_SEED, EVALUATION_SEED + arguments.episodes)
        _print(env, rows, random_policy_episodes(_ppo(env), seeds).mean, arguments.share)


def _rows(table: Path, env: str, steps: int) -> pd.DataFrame:
    if not table.exists():
        return pd.DataFrame(columns=["seed"])
    rows = pd.read_csv(table)
    return rows[(rows["env"] == env) & (rows["steps"] == steps)]


def _trained(env: str, steps: int, seed: int, episodes: int) -> list[dict[str, object]]:
    """Trains one pack: a dense member, and one for each number of weights and way of counting."""
    ways = [("dense", 0), *((count, level) for level in LEVELS for count in COUNTS)]
    pack = Pack(_ppo(env), len(ways))
    module = pack.network.modules[0]
    policy = list(prunable_weights(module, critic_names(module)).policy)
    total = sum(module.get_parameter(name).numel() for name in policy)
    for place, (count, level) in enumerate(ways):
        pruning = PruningConfig(
            final_sparsity=1.0 - level / total if level else 0.0,
            count="kept" if count == "kept" else "live",
            horizon=steps,
        )
        pack.start(place, training={}, pruning=pruning, seed=10_000 * (seed + 1))
    done = 0
    while done < steps:
        done = max(int(result["env_steps"]) for result in pack.train().values())
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + episodes)
    liveness = Liveness(trace(module, probe_of(module)))
    rows: list[dict[str, object]] = []
    for place, (count, level) in enumerate(ways):
        masks = pack.pruning.pruner(place).masks
        rows.append(
            {
                "env": env,
                "steps": steps,
                "seed": seed,
                "count": count,
                "weights": level or total,
                "kept": sum(int(masks[name].sum()) for name in policy),
                "at_work": liveness.count(masks, policy),
                "return_mean": pack.evaluate({place: seeds})[place].mean,
            }
        )
    pack.close()
    return rows


def _ppo(env: str) -> PPOConfig:
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=ENVS)
        .learners(num_learners=0)
        .training(**{**COMMON, **CASES[env].training})
        .rl_module(model_config=dict(MODEL))
        .debugging(log_level="ERROR")
    )


def _print(env: str, rows: pd.DataFrame, random_return: float, share: float) -> None:
    """Prints the two tables of an environment."""
    dense = rows[rows["count"] == "dense"]["return_mean"]
    returns = {
        count: rows[rows["count"] == count].pivot(
            index="seed", columns="weights", values="return_mean"
        )
        for count in COUNTS
    }
    work = rows.groupby(["count", "weights"])[["kept", "at_work"]].mean()
    print(f"\n{env}: {len(dense)} seeds, dense {dense.mean():.1f}, random {random_return:.1f}")
    print(
        "weights  at work (kept)  return, live  return, kept  live - kept (95 % for all together)"
    )
    levels = sorted(LEVELS, reverse=True)
    differences = [(returns["live"][k] - returns["kept"][k]).to_numpy() for k in levels]
    compared = paired_comparisons(differences, 0.95)
    for k, gained, (low, high, _) in zip(levels, differences, compared, strict=True):
        print(
            f"{k:7d}  {work.loc[('kept', k), 'at_work']:14.1f}  {returns['live'][k].mean():12.1f}  "
            f"{returns['kept'][k].mean():12.1f}  {gained.mean():+.1f} ({low:+.1f} to {high:+.1f})"
        )
    floor = random_return + share * (dense.mean() - random_return)
    print(
        f"weights needed for {share:.0%} of the dense policy's gain, and how much fewer, in decades:"
    )
    for line in _needed(returns, levels, floor):
        print(line)


def _needed(returns: dict[str, pd.DataFrame], levels: Sequence[int], floor: float) -> list[str]:
    rng = np.random.default_rng(0)
    seeds = returns["live"].index.to_numpy()
    drawn = [seeds, *(rng.choice(seeds, len(seeds)) for _ in range(RESAMPLES))]
    found = {
        count: np.array(
            [_crossing(returns[count].loc[d, list(levels)].mean(), floor) for d in drawn]
        )
        for count in COUNTS
    }
    lines = []
    for count in COUNTS:
        low, high = np.nanquantile(found[count][1:], [0.025, 0.975])
        lines.append(f"  {count}: {found[count][0]:.0f} ({low:.0f} to {high:.0f})")
    fewer = np.log10(found["kept"] / found["live"])
    low, high = np.nanquantile(fewer[1:], [0.025, 0.975])
    return [*lines, f"  live needs {fewer[0]:+.2f} ({low:+.2f} to {high:+.2f}) decades less"]


def _crossing(by_weights: pd.Series, floor: float) -> float:
    """Returns the number of weights from which on means reach a floor, interpolated in log10.

    If all numbers reach it, this is the smallest that was tried; if the largest doesn't, it is the
    largest: the resulting differences are no larger than those that were seen.
    """
    series = by_weights.sort_index(ascending=False)
    logs, values = np.log10(series.index.to_numpy(float)), series.to_numpy(float)
    below = np.flatnonzero(values < floor)
    if not len(below):
        return float(10 ** logs[-1])
    i = int(below[0])
    if i == 0:
        return float(10 ** logs[0])
    part = (values[i - 1] - floor) / (values[i - 1] - values[i])
    return float(10 ** (logs[i - 1] + part * (logs[i] - logs[i - 1])))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument(
        "envs", nargs="*", type=one_of(CASES), default=["CartPole-v1"], help=", ".join(CASES)
    )
    parser.add_argument("--output", type=Path, default=Path("results/bench-live"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument(
        "--share", type=float, default=0.95, help="of the dense gain (default 0.95)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the training, for a trial run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
