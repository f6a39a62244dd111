"""Cost of evaluating candidates, before and now: `make bench NAME=evaluation`.

Before, each policy was evaluated by itself, all of its episodes at once, and continuous actions went
through RLlib's connectors. Now policies of one architecture act as a stack, in at most 64 environments
that are reused when an episode is over. Both take turns in one process, on the same policies and seeds.
Figures are seconds of CPU time and microseconds per env step; ratios are the median over rounds with its
95 % bootstrap interval. For comparison there are Gymnasium's environments alone, which no evaluation in
them can be faster than, and EnvPool's, in which packs evaluate while they train.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from benchmarks.shared.intervals import median_ratio
from rllib_ext import PruningConfig
from rllib_ext.envs.env_maker import EnvMaker, env_maker
from rllib_ext.envs.pool import pool_of
from rllib_ext.evaluation.evaluator import Episodes, Evaluator
from rllib_ext.evaluation.reference import ConstantPolicy
from rllib_ext.export.opened import open_saved
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.together import Together, evaluate_together
from rllib_ext.policy.store import load_policy

BEFORE, NOW, ALONE, POOL = "before", "now", "environments alone", "in EnvPool"


def main() -> None:
    """Measures and prints a table for each environment."""
    arguments = _arguments()
    torch.set_num_threads(1)
    print(
        f"{arguments.policies} policies of 64-64, {arguments.episodes} episodes each, "
        f"{arguments.rounds} rounds, one torch thread\n"
    )
    for env in arguments.envs:
        with tempfile.TemporaryDirectory() as name:
            folders = write_policies(env, arguments.policies, Path(name))
            contenders = contenders_of(env, folders, range(arguments.episodes))
            seconds, steps = _in_turns(contenders, arguments.rounds)
        _print(env, seconds, steps, np.random.default_rng(0))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--envs", nargs="+", default=["LunarLander-v3", "HalfCheetah-v5"])
    parser.add_argument("--policies", type=int, default=8, help="candidates (default 8)")
    parser.add_argument("--episodes", type=int, default=100, help="of each (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    return parser.parse_args()


def write_policies(env: str, count: int, folder: Path) -> list[Path]:
    """Saves a pack's policies, hardly trained: how well they act doesn't matter here."""
    ppo = PPOConfig().environment(env).env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    ppo.training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=1)
    ppo.rl_module(model_config={"fcnet_hiddens": [64, 64]})
    pack = Pack(ppo, count)
    try:
        for member in range(count):
            pack.start(member, training={}, pruning=PruningConfig(horizon=1_000), seed=member)
            pack.save_policy(member, folder / str(member), {})
    finally:
        pack.close()
    return [folder / str(member) for member in range(count)]


def contenders_of(
    env: str, folders: Sequence[Path], seeds: Sequence[int]
) -> dict[str, Callable[[], list[Episodes]]]:
    """Returns, by name, the functions that evaluate all policies, loading included."""
    make = env_maker(PPOConfig().environment(env))
    pool = pool_of(make)

    def now() -> list[Episodes]:
        return evaluate_together([load_policy(folder) for folder in folders], make, seeds)

    def before() -> list[Episodes]:
        return [_as_before(folder, make, seeds) for folder in folders]

    def alone() -> list[Episodes]:
        constant = ConstantPolicy(_neutral(make))
        return evaluate_together([constant] * len(folders), make, seeds)

    def in_pool() -> list[Episodes]:
        policies = [load_policy(folder) for folder in folders]
        players = np.repeat(np.arange(len(policies)), len(seeds))
        evaluator = Evaluator(make, pool=pool)
        played = evaluator.run(Together(policies, players), [*seeds] * len(policies))
        return played.split([len(seeds)] * len(policies))

    found = {BEFORE: before, NOW: now, ALONE: alone}
    return found if isinstance(pool, str) else {**found, POOL: in_pool}


def _as_before(folder: Path, make: EnvMaker, seeds: Sequence[int]) -> Episodes:
    parts, _, _ = open_saved(folder)
    through = not isinstance(parts.module.action_space, gym.spaces.Discrete)
    policy = dataclasses.replace(parts, through_connectors=through).policy()
    evaluator = Evaluator(make, width=len(seeds))
    try:
        return evaluator.run(policy, seeds)
    finally:
        evaluator.close()


def _neutral(make: EnvMaker) -> object:
    env = make()
    space = env.action_space
    env.close()
    return np.zeros(space.shape, space.dtype) if isinstance(space, gym.spaces.Box) else 0


def _in_turns(
    contenders: dict[str, Callable[[], list[Episodes]]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Returns CPU seconds of each turn and env steps of one, in an order that rotates over rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    steps: dict[str, int] = {}
    names = list(contenders)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.process_time()
            played = contenders[name]()
            seconds[name].append(time.process_time() - started)
            steps[name] = sum(sum(episodes.lengths) for episodes in played)
    return seconds, steps


def _print(
    env: str,
    seconds: dict[str, list[float]],
    steps: dict[str, int],
    generator: np.random.Generator,
) -> None:
    print(f"{env}\n{'':20}{'CPU s':>8}{'env steps':>12}{'µs a step':>11}   a step, before ÷ this")
    a_step = {name: np.array(own) / steps[name] for name, own in seconds.items()}
    for name, own in seconds.items():
        middle, low, high = median_ratio(a_step[BEFORE], a_step[name], generator)
        print(
            f"{name:20}{np.median(own):8.1f}{steps[name]:12,}{1e6 * np.median(a_step[name]):11.1f}"
            f"   {middle:.2f} ({low:.2f} to {high:.2f})"
        )
    print()


if __name__ == "__main__":
    main()
