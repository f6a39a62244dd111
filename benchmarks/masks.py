"""Measures the cost of keeping masks exact: `make bench NAME=masks`.

Four PPO algorithms of one configuration run in one process: two pruned, by magnitude and by the
criterion "gradient", which reads every minibatch's gradients, and two plain. Each round trains every one
of them for an iteration, in an order that rotates from round to round. The ratio pruned ÷ plain is the
cost; plain ÷ plain is the control that shows how much noise alone changes it. The upper end of the
cost's interval is compared with the target, unless the control's exceeds that too. All four have the
same pruned weights and train with learning rate 0: otherwise they would soon play episodes of different
lengths, and resets cost more than masks. Finally, every hook that runs in an update is timed within the
update.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from benchmarks.shared.cluster import start_ray
from benchmarks.shared.intervals import median_ratio
from rllib_ext import PruningConfig, with_pruning

SPARSITY = 0.9
TARGET = 0.05
PLAIN, CONTROL, PRUNED, GRADIENT = "plain", "plain again", "pruned", "pruned, gradient"
# Methods of the Pruner that the Learner calls, in the order of an update.
HOOKS = ("before_update", "observe_gradients", "mask_gradients_", "enforce_", "after_update")

# By algorithm: seconds of each iteration; rows are wall-clock and processor time.
Seconds = dict[str, np.ndarray]
# By hook: seconds and calls per iteration.
Hooks = dict[str, tuple[float, float]]


def main() -> None:
    """Measures and prints the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    start_ray(1)
    ppo = _ppo(arguments.env, arguments.seed)
    algorithms = build_algorithms(ppo)
    seconds = _train_in_turns(algorithms, arguments.pairs, arguments.warm_up)
    hooks = {name: time_hooks(algorithms[name], arguments.pairs) for name in (PRUNED, GRADIENT)}
    reached = [algorithms[name].train()["pruning"]["sparsity"] for name in (PRUNED, GRADIENT)]
    for algorithm in algorithms.values():
        algorithm.stop()
    ray.shutdown()
    print(
        f"{arguments.env}, {ppo.train_batch_size_per_learner} env steps an iteration, minibatches of "
        f"{ppo.minibatch_size}, {ppo.num_epochs} epochs; sparsity {reached[0]:.3f} and "
        f"{reached[1]:.3f}; {arguments.pairs} pairs, one torch thread\n"
    )
    print_ratios(seconds, np.random.default_rng(arguments.seed))
    for name, own in hooks.items():
        _print_hooks(name, own, float(np.median(seconds[PLAIN][0])))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masks", description=__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="interleaved pairs (default 40)")
    parser.add_argument("--warm-up", type=int, default=3, help="rounds before them (default 3)")
    parser.add_argument("--env", default="CartPole-v1", help="Gymnasium id (default CartPole-v1)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _ppo(env: str, seed: int) -> PPOConfig:
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=2048, minibatch_size=256, num_epochs=6, lr=0.0)
        .rl_module(model_config={"fcnet_hiddens": [64, 64]})
        .debugging(seed=seed, log_level="ERROR")
    )


def build_algorithms(ppo: PPOConfig) -> dict[str, Algorithm]:
    """Builds all four algorithms, with the same weights."""
    pruning = PruningConfig(final_sparsity=SPARSITY, schedule="one_shot", begin=0.0, horizon=1)
    algorithms = {
        PLAIN: ppo.copy(copy_frozen=False).build_algo(),
        CONTROL: ppo.copy(copy_frozen=False).build_algo(),
        PRUNED: with_pruning(ppo, pruning).build_algo(),
        GRADIENT: with_pruning(ppo, pruning.replace(criterion="gradient")).build_algo(),
    }
    _share_weights(algorithms)
    return algorithms


def _share_weights(algorithms: dict[str, Algorithm]) -> None:
    """Prunes one algorithm, gives its weights to all and its masks to the other pruned one."""
    algorithms[PRUNED].train()
    # Twice, because it prunes only after it has seen gradients.
    for _ in range(2):
        algorithms[GRADIENT].train()
    learners = {name: a.learner_group._learner for name, a in algorithms.items()}
    masks = learners[PRUNED].pruner.state_dict()["masks"]
    own = learners[GRADIENT].pruner.state_dict()
    weights = learners[PRUNED].module.get_state()
    for learner in learners.values():
        learner.module.set_state(weights)
    learners[GRADIENT].pruner.load_state_dict({**own, "masks": masks})


def _train_in_turns(algorithms: dict[str, Algorithm], rounds: int, warm_up: int) -> Seconds:
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in algorithms}
    names = list(algorithms)
    for i in range(warm_up + rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter(), time.process_time()
            algorithms[name].train()
            ended = time.perf_counter(), time.process_time()
            if i >= warm_up:
                seconds[name].append((ended[0] - began[0], ended[1] - began[1]))
    return {name: np.array(values).T for name, values in seconds.items()}


def time_hooks(algorithm: Algorithm, iterations: int) -> Hooks:
    """Returns the seconds and calls per iteration of each hook, timed within updates."""
    pruner = algorithm.learner_group._learner.pruner
    spent, calls = dict.fromkeys(HOOKS, 0.0), dict.fromkeys(HOOKS, 0)

    def timed(name: str) -> Callable[..., Any]:
        hook = getattr(pruner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            found = hook(*arguments, **named)
            spent[name] += time.perf_counter() - began
            calls[name] += 1
            return found

        return call

    for name in HOOKS:
        setattr(pruner, name, timed(name))
    for _ in range(iterations):
        algorithm.train()
    for name in HOOKS:
        delattr(pruner, name)
    return {name: (spent[name] / iterations, calls[name] / iterations) for name in HOOKS}


def print_ratios(seconds: Seconds, generator: np.random.Generator) -> None:
    """Prints the times of iterations, their ratios to plain ones, and the verdicts.

    Args:
        seconds: Times of all four algorithms.
        generator: Random generator for the bootstrap intervals.
    """
    for row, clock in enumerate(("wall clock", "processor time")):
        title = f"an iteration, {clock}"
        print(f"{title:30}{'median s':>10}{'÷ plain':>10}{'95 % interval':>18}")
        most = {}
        for name, values in seconds.items():
            line = f"  {name:28}{np.median(values[row]):>10.4f}"
            if name != PLAIN:
                middle, low, most[name] = median_ratio(values[row], seconds[PLAIN][row], generator)
                line += f"{middle:>10.4f}{f'{low:.4f} – {most[name]:.4f}':>18}"
            if name in (PRUNED, GRADIENT):
                line += f"   {_verdict(most[name], most[CONTROL])}"
            print(line)
        print()


def _verdict(cost: float, control: float) -> str:
    """Returns the verdict on the upper ends of two intervals: of pruned ÷ plain and of plain ÷ plain."""
    if cost < 1.0 + TARGET:
        return f"below the target of {TARGET:+.0%}"
    if control < 1.0 + TARGET:
        return f"NOT below the target of {TARGET:+.0%}"
    return f"can't tell: noise alone reaches the target of {TARGET:+.0%}; raise --pairs"


def _print_hooks(algorithm: str, hooks: Hooks, iteration: float) -> None:
    print(f"{algorithm + ', an iteration':30}{'µs a call':>10}{'calls':>10}{'of a plain one':>18}")
    for name, (spent, calls) in hooks.items():
        once = spent / calls if calls else 0.0
        print(f"  {name:28}{once * 1e6:>10.1f}{calls:>10.0f}{spent / iteration:>18.2%}")
    together = sum(spent for spent, _ in hooks.values()) / iteration
    print(f"  {'together':48}{together:>18.2%}\n")


if __name__ == "__main__":
    main()
