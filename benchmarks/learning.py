"""Whether the packed engine learns as RLlib does: `make bench NAME=learning`.

Both engines train dense policies from one PPO configuration, RLlib one seed after the other, the packed
engine all of them in one pack; at equal env steps both play fresh deterministic episodes. The difference
of mean returns (packed − rllib) with Welch's 95 % interval over seeds, as a share of (rllib at the end −
random), is to lie within ±10 % at the end of training.

A finished run is a row a checkpoint in learning.csv under --output, and is not trained again: the
benchmark can be stopped, and goes on.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import pandas as pd
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from benchmarks.shared.cluster import start_ray
from benchmarks.shared.intervals import mean_difference
from rllib_ext import PruningConfig
from rllib_ext.evaluate import Evaluator, env_maker, random_policy_episodes
from rllib_ext.packed.pack import Pack
from rllib_ext.policy import policy_of

EVALUATION_SEED = 10**6
RANDOM_EPISODES = 100
LARGEST_SHARE = 0.10
FIELDS = (
    "env",
    "engine",
    "seed",
    "checkpoint",
    "env_steps",
    "episodes",
    "return_mean",
    "cpu_seconds",
)
# A pack's members are always pruned; these never are.
DENSE = PruningConfig(final_sparsity=0.0, schedule="linear", begin=0.9, end=1.0, horizon=10**9)


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment and how long it is trained.

    Attributes:
        steps: Env steps of each seed.
        training: Arguments of `PPOConfig.training` beside those common to all cases.
    """

    steps: int
    training: dict[str, Any]


CASES = {
    "CartPole-v1": Case(100_000, {"lr": 2e-3}),
    "Acrobot-v1": Case(150_000, {"lr": 1e-3, "entropy_coeff": 0.01}),
    # With γ = 0.995, or 3e-3 in minibatches of 256, returns differ by 100 and more from seed to seed.
    "LunarLander-v3": Case(
        300_000,
        {
            "lr": 2e-3,
            "gamma": 0.999,
            "lambda_": 0.98,
            "entropy_coeff": 0.01,
            "minibatch_size": 128,
        },
    ),
}


def main() -> None:
    """Trains what is missing and prints the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = arguments.output / "learning.csv"
    for env in arguments.envs:
        _complete(env, table, arguments)
    rows = _read(table)
    for env in arguments.envs:
        _print(env, rows[rows.env == env])


def _complete(env: str, table: Path, arguments: argparse.Namespace) -> None:
    """Appends the runs that the table lacks."""
    steps, count = CASES[env].steps * arguments.scale, arguments.checkpoints
    episodes = {round(steps * i / count): arguments.episodes_before for i in range(1, count)}
    episodes[round(steps)] = arguments.episodes
    ppo = _ppo(env)
    if _missing(table, env, "random", range(1)):
        count, mean = RANDOM_EPISODES, random_policy_episodes(ppo, _seeds(RANDOM_EPISODES)).mean
        _append(table, [_row(env, "random", 0, 0, 0, mean, count, 0.0)])
    seeds = _missing(table, env, "packed", range(arguments.packed_seeds))
    if seeds:
        _append(table, _packed(env, ppo, seeds, episodes))
    for seed in _missing(table, env, "rllib", range(arguments.seeds)):
        _append(table, _rllib(env, ppo, seed, episodes))


def _packed(
    env: str, ppo: PPOConfig, seeds: Sequence[int], checkpoints: Mapping[int, int]
) -> list[dict[str, Any]]:
    pack = Pack(ppo, len(seeds))
    for place, seed in enumerate(seeds):
        pack.start(place, training={}, pruning=DENSE, seed=_training_seed(seed))
    rows, spent, done = [], 0.0, 0
    for mark, episodes in checkpoints.items():
        began = time.process_time()
        while done < mark:
            results = pack.train()
            done = results[0]["env_steps"]
        spent += time.process_time() - began
        for place, seed in enumerate(seeds):
            failure = results[place]["failure"] if place in results else "stopped"
            assert not failure, f"{env}, seed {seed}: {failure}"
            # One at a time: an evaluation builds an environment an episode.
            mean = pack.evaluate({place: _seeds(episodes)})[place].mean
            own = spent / len(seeds)
            rows.append(_row(env, "packed", seed, mark, done, mean, episodes, own))
    pack.close()
    return rows


def _rllib(
    env: str, ppo: PPOConfig, seed: int, checkpoints: Mapping[int, int]
) -> list[dict[str, Any]]:
    start_ray(1)
    config = ppo.copy(copy_frozen=False).debugging(seed=_training_seed(seed))
    algorithm = config.build_algo()
    evaluator = Evaluator(env_maker(config))
    rows, spent, done = [], 0.0, 0
    for mark, episodes in checkpoints.items():
        began = time.process_time()
        while done < mark:
            done = int(algorithm.train()["num_env_steps_sampled_lifetime"])
        spent += time.process_time() - began
        mean = evaluator.run(policy_of(algorithm), _seeds(episodes)).mean
        rows.append(_row(env, "rllib", seed, mark, done, mean, episodes, spent))
    evaluator.close()
    algorithm.stop()
    return rows


def _ppo(env: str) -> PPOConfig:
    common = {
        "train_batch_size_per_learner": 2048,
        "minibatch_size": 256,
        "num_epochs": 6,
        "vf_loss_coeff": 0.5,
        "vf_clip_param": 1e4,
        "grad_clip": 0.5,
    }
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .learners(num_learners=0)
        .training(**{**common, **CASES[env].training})
        .rl_module(
            model_config={
                "fcnet_hiddens": [64, 64],
                "fcnet_activation": "tanh",
                "vf_share_layers": False,
            }
        )
        .debugging(log_level="ERROR")
    )


def _training_seed(seed: int) -> int:
    return 10_000 * (seed + 1)


def _seeds(episodes: int) -> range:
    return range(EVALUATION_SEED, EVALUATION_SEED + episodes)


def _row(*values: Any) -> dict[str, Any]:
    env, engine, seed, checkpoint, env_steps, mean, episodes, seconds = values
    found = (env, engine, seed, checkpoint, env_steps, episodes, round(mean, 3), round(seconds, 2))
    return dict(zip(FIELDS, found, strict=True))


def _append(table: Path, rows: Sequence[dict[str, Any]]) -> None:
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(", ".join(f"{name} {row[name]}" for name in FIELDS), flush=True)


def _read(table: Path) -> pd.DataFrame:
    return pd.read_csv(table) if table.exists() else pd.DataFrame(columns=list(FIELDS))


def _missing(table: Path, env: str, engine: str, seeds: Sequence[int]) -> list[int]:
    rows = _read(table)
    there = set(rows[(rows.env == env) & (rows.engine == engine)].seed)
    return [seed for seed in seeds if seed not in there]


def _print(env: str, rows: pd.DataFrame) -> None:
    ended = rows[rows.checkpoint == rows.checkpoint.max()].engine.value_counts()
    if min(ended.get("rllib", 0), ended.get("packed", 0)) < 2:
        print(f"\n{env}: fewer than two runs of an engine have ended: {dict(ended)}")
        return
    random = float(rows[rows.engine == "random"].return_mean.iloc[0])
    runs = {engine: rows[rows.engine == engine] for engine in ("rllib", "packed")}
    last = int(rows.checkpoint.max())
    dense = float(runs["rllib"][runs["rllib"].checkpoint == last].return_mean.mean())
    span = dense - random
    seconds = {e: r[r.checkpoint == last].cpu_seconds.mean() for e, r in runs.items()}
    print(
        f"\n{env}: random {random:.1f}, dense {dense:.1f}; CPU seconds a seed: "
        f"rllib {seconds['rllib']:.0f}, packed {seconds['packed']:.1f}"
    )
    print(
        f"{'env steps':>10}{'rllib':>22}{'packed':>22}{'difference':>12}{'95 % interval, of span':>26}"
    )
    for mark in sorted(set(rows.checkpoint) - {0}):
        at = {e: r[r.checkpoint == mark].return_mean.to_numpy() for e, r in runs.items()}
        difference, low, high = mean_difference(at["packed"], at["rllib"])
        cells = "".join(
            f"{f'{v.mean():.1f} ± {v.std(ddof=1):.1f} ({len(v)})':>22}" for v in at.values()
        )
        interval = f"{low / span:+.1%} to {high / span:+.1%}"
        verdict = ""
        if mark == last:
            within = max(abs(low), abs(high)) <= LARGEST_SHARE * span
            verdict = f"   {'within' if within else 'NOT within'} ±{LARGEST_SHARE:.0%}"
        print(f"{mark:>10,}{cells}{difference:>12.1f}{interval:>26}{verdict}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("envs", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--output", type=Path, default=Path("results/bench-learning"))
    parser.add_argument("--seeds", type=int, default=10, help="of the rllib engine (default 10)")
    parser.add_argument(
        "--packed-seeds", type=int, default=40, help="of the packed one (default 40)"
    )
    parser.add_argument("--episodes", type=int, default=50, help="at the end")
    parser.add_argument("--episodes-before", type=int, default=20, help="at earlier checkpoints")
    parser.add_argument("--checkpoints", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the training, for a trial run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
