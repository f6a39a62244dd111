"""Env steps a second over all members, packed and in RLlib: `make bench NAME=packed`.

Every engine runs in a process of its own, on one thread, with the same PPO: 8 environments of CartPole
a member, batches of 1,024 steps, 4 epochs in minibatches of 256, networks of 64-64 tanh for actor and
critic, pruned from the first update on. Speeds are per second of CPU time, so that others on the machine
hardly matter; wall-clock stands beside. Memory is the process's largest resident set.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext import PruningConfig, with_pruning

PRUNING = PruningConfig(final_sparsity=0.9, schedule="one_shot", begin=0.0, horizon=10**9)
# Steps that are not timed: the first ones load code and fill caches.
WARM_UP = 2


def main() -> None:
    """Measures each engine in turn and prints the table."""
    arguments = _arguments()
    if arguments.only is not None:
        _measure(arguments)
        return
    rows = [_in_process_of_its_own(arguments, p) for p in [0, *arguments.members]]
    print(f"{arguments.env}, {arguments.seconds:g} s each, torch {torch.__version__}, ", end="")
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    print(f"{'engine':<14}{'steps/CPU s':>12}{'÷ rllib':>9}{'steps/s':>10}{'MB':>7}", end="")
    print(f"{'env':>8}{'policy':>8}{'update':>8}{'rest':>8}{'env alone':>11}")
    for row in rows:
        shares = "".join(f"{share:>8.0%}" for share in row["shares"])
        alone = f"{row['env_alone']:>11,.0f}" if row["env_alone"] else ""
        print(
            f"{row['engine']:<14}{row['per_cpu_second']:>12,.0f}"
            f"{row['per_cpu_second'] / rows[0]['per_cpu_second']:>9.1f}"
            f"{row['per_second']:>10,.0f}{row['megabytes']:>7.0f}{shares}{alone}"
        )
    packs = [row for row in rows if row["members"]]
    if len(packs) > 1:
        more = packs[-1]["members"] - packs[0]["members"]
        grown = packs[-1]["megabytes"] - packs[0]["megabytes"]
        print(f"\na further member: {grown / more:.2f} MB")


def _measure(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    ppo = _ppo(arguments.env)
    members = arguments.only
    result = _packed(ppo, members, arguments.seconds) if members else _rllib(ppo, arguments.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"members": members, "megabytes": peak, **result}))


def _rllib(ppo: PPOConfig, seconds: float) -> dict[str, Any]:
    import ray

    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    algorithm = with_pruning(ppo, PRUNING).build_algo()
    size = ppo.train_batch_size_per_learner
    speeds = _speeds(algorithm.train, size, seconds)
    algorithm.stop()
    ray.shutdown()
    return {"engine": "rllib", "shares": [], "env_alone": None, **speeds}


def _packed(ppo: PPOConfig, members: int, seconds: float) -> dict[str, Any]:
    from rllib_ext.packed.pack import Pack

    pack = Pack(ppo, members)
    for member in range(members):
        pack.start(member, training={}, pruning=PRUNING, seed=member)
    size = ppo.train_batch_size_per_learner * members
    clocks = [
        _Clock(pack._environments, "step"),
        _Clock(pack._collector, "collect"),
        _Clock(pack, "_learn"),
    ]
    speeds = _speeds(pack.train, size, seconds, lambda: [clock.restart() for clock in clocks])
    env, rollout, update = (clock.seconds for clock in clocks)
    total = speeds["cpu_seconds"]
    shares = [env / total, (rollout - env) / total, update / total, 1 - (rollout + update) / total]
    actions = np.zeros(members * ppo.num_envs_per_env_runner, dtype=np.int64)
    start, steps = time.process_time(), 0
    while time.process_time() - start < 1.0:
        pack._environments.step(actions)
        steps += len(actions)
    alone = steps / (time.process_time() - start)
    return {"engine": f"packed P={members}", "shares": shares, "env_alone": alone, **speeds}


class _Clock:
    """Adds up the CPU time of a method, from now on."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds = 0.0
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        setattr(owner, name, timed)

    def restart(self) -> None:
        """Forgets what was added up."""
        self.seconds = 0.0


def _speeds(
    train: Callable[[], Any],
    steps: int,
    seconds: float,
    after_warm_up: Callable[[], Any] = lambda: None,
) -> dict[str, float]:
    for _ in range(WARM_UP):
        train()
    after_warm_up()
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        train()
        done += steps
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_second": done / wall, "per_cpu_second": done / cpu, "cpu_seconds": cpu}


def _in_process_of_its_own(arguments: argparse.Namespace, members: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.packed", f"--only={members}"]
    command += [f"--env={arguments.env}", f"--seconds={arguments.seconds}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _ppo(env: str) -> PPOConfig:
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=1024,
            minibatch_size=256,
            num_epochs=4,
            lr=1e-3,
            grad_clip=0.5,
            vf_clip_param=1e4,
        )
        .rl_module(model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"})
        .debugging(seed=0, log_level="ERROR")
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each engine")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
