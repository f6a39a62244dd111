"""Env steps per CPU second of a pack's ways to step environments: `make bench NAME=environments`.

Gymnasium's environments one after the other, this project's native ones and EnvPool's take turns in one
process, with random actions; the figure is the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.packed.environments import Environments
from rllib_ext.packed.vectorize import Vectorize, build_environments, vectorize_of
from rllib_ext.pruning.errors import ConfigError

MODES: tuple[Vectorize, ...] = ("sync", "native", "envpool")
ENVS = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "LunarLander-v3", "BipedalWalker-v3")
MUJOCO = ("HalfCheetah-v5", "Hopper-v5")
DRAWN = 64


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments", description=__doc__)
    parser.add_argument("--envs", nargs="+", default=[*ENVS, *MUJOCO])
    parser.add_argument(
        "--counts", nargs="+", type=int, default=[16, 128], help="(default 16, 128)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    arguments = parser.parse_args()
    print(f"{'env steps a CPU second':24}{'envs':>6}" + "".join(f"{mode:>12}" for mode in MODES))
    for env in arguments.envs:
        for count in arguments.counts:
            found = rates(env, count, arguments.seconds, arguments.rounds)
            told = (f"{found[mode]:12,.0f}" if mode in found else f"{'–':>12}" for mode in MODES)
            print(f"{env:24}{count:6}" + "".join(told), flush=True)


def rates(env: str, count: int, seconds: float, rounds: int) -> dict[Vectorize, float]:
    """Returns env steps per CPU second, by mode; without the modes that the environment lacks."""
    make = env_maker(PPOConfig().environment(env))
    single = make()
    space = single.action_space
    single.close()
    space.seed(0)
    actions = [np.stack([space.sample() for _ in range(count)]) for _ in range(DRAWN)]
    stepped: dict[Vectorize, Environments] = {}
    for mode in MODES:
        try:
            vectorize_of(mode, make)
        except ConfigError:
            continue
        stepped[mode] = build_environments(make, 1, count, mode)
        stepped[mode].reset(0, seed=1)
    found: dict[Vectorize, list[float]] = {mode: [] for mode in stepped}
    for _ in range(rounds):
        for mode, environments in stepped.items():
            found[mode].append(_rate(environments, actions, seconds))
    for environments in stepped.values():
        environments.close()
    return {mode: float(np.median(own)) for mode, own in found.items()}


def _rate(environments: Environments, actions: Sequence[np.ndarray], seconds: float) -> float:
    """Returns env steps per CPU second, EnvPool's own thread included."""
    steps, started = 0, time.process_time()
    while (taken := time.process_time() - started) < seconds:
        for action in actions[:8]:
            environments.step(action)
            steps += len(action)
    return steps / taken


if __name__ == "__main__":
    main()
