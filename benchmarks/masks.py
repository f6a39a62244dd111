"""What keeping masks exact costs: `make bench NAME=masks`.

Three PPO algorithms of one configuration live in one process: one pruned, two plain. Each round trains
every one of them for an iteration, in an order that turns from round to round. The ratio pruned ÷ plain
is the cost; plain ÷ plain is the control that shows how far noise alone moves it. All three hold the
pruned weights and train with learning rate 0: else they would soon play episodes of other lengths, and
resets cost more than masks. Then the two overrides that run at every optimizer step are timed by
themselves.
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
PLAIN, CONTROL, PRUNED = "plain", "plain again", "pruned"


def main() -> None:
    """Measures and prints the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    start_ray(1)
    ppo = _ppo(arguments.env, arguments.seed)
    pruning = PruningConfig(final_sparsity=SPARSITY, schedule="one_shot", begin=0.0, horizon=1)
    algorithms = {
        PLAIN: ppo.copy(copy_frozen=False).build_algo(),
        CONTROL: ppo.copy(copy_frozen=False).build_algo(),
        PRUNED: with_pruning(ppo, pruning).build_algo(),
    }
    _share_weights(algorithms)
    seconds = _train_in_turns(algorithms, arguments.pairs, arguments.warm_up)
    calls = _calls_an_iteration(algorithms[PRUNED])
    overrides = _time_overrides(algorithms[PRUNED])
    reached = algorithms[PRUNED].train()["pruning"]["sparsity"]
    for algorithm in algorithms.values():
        algorithm.stop()
    ray.shutdown()
    print(
        f"{arguments.env}, {ppo.train_batch_size_per_learner} env steps an iteration, minibatches of "
        f"{ppo.minibatch_size}, {ppo.num_epochs} epochs; sparsity {reached:.3f}; "
        f"{arguments.pairs} pairs, one torch thread\n"
    )
    _print_ratios(seconds, np.random.default_rng(arguments.seed))
    _print_overrides(overrides, calls, float(np.median(seconds[PLAIN][0])))


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


def _share_weights(algorithms: dict[str, Algorithm]) -> None:
    """Prunes the one and gives its weights to the others."""
    algorithms[PRUNED].train()
    weights = algorithms[PRUNED].learner_group._learner.module.get_state()
    for algorithm in algorithms.values():
        algorithm.learner_group._learner.module.set_state(weights)


def _train_in_turns(
    algorithms: dict[str, Algorithm], rounds: int, warm_up: int
) -> dict[str, np.ndarray]:
    """Seconds of each iteration by algorithm; rows: on the clock, on the processor."""
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


def _calls_an_iteration(algorithm: Algorithm) -> int:
    """Optimizer steps of one iteration, counted."""
    learner = algorithm.learner_group._learner
    count = 0
    apply_gradients = learner.apply_gradients

    def counting(gradients: Any) -> None:
        nonlocal count
        count += 1
        apply_gradients(gradients)

    learner.apply_gradients = counting
    algorithm.train()
    learner.apply_gradients = apply_gradients
    return count


def _time_overrides(algorithm: Algorithm) -> dict[str, float]:
    """Seconds a call of what is added to every optimizer step."""
    learner = algorithm.learner_group._learner
    gradients = {parameter: torch.randn_like(parameter) for parameter in learner._params.values()}
    return {
        "mask_gradients_": _seconds(lambda: learner.pruner.mask_gradients_(gradients.items())),
        "enforce_": _seconds(learner.pruner.enforce_),
    }


def _seconds(function: Callable[[], object], calls: int = 200, repeats: int = 25) -> float:
    """Median over repeats of the mean of some calls."""
    means = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            function()
        means.append((time.perf_counter() - began) / calls)
    return float(np.median(means))


def _print_ratios(seconds: dict[str, np.ndarray], generator: np.random.Generator) -> None:
    for row, clock in enumerate(("wall clock", "processor time")):
        title = f"an iteration, {clock}"
        print(f"{title:30}{'median s':>10}{'÷ plain':>10}{'95 % interval':>18}")
        for name, values in seconds.items():
            line = f"  {name:28}{np.median(values[row]):>10.4f}"
            if name != PLAIN:
                middle, low, high = median_ratio(values[row], seconds[PLAIN][row], generator)
                line += f"{middle:>10.4f}{f'{low:.4f} – {high:.4f}':>18}"
            print(line)
        print()


def _print_overrides(overrides: dict[str, float], calls: int, iteration: float) -> None:
    print(f"{'an optimizer step':30}{'µs a call':>10}{'calls':>10}{'of an iteration':>18}")
    for name, once in overrides.items():
        print(f"  {name:28}{once * 1e6:>10.1f}{calls:>10}{once * calls / iteration:>18.2%}")
    share = sum(overrides.values()) * calls / iteration
    verdict = "below" if share < TARGET else "NOT below"
    print(f"  {'together':48}{share:>18.2%}   {verdict} the target of {TARGET:.0%}")


if __name__ == "__main__":
    main()
