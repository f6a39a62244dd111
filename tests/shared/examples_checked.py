"""RLlib's examples: trained by RLlib alone, and what holds of them once they are pruned."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from example_scripts import Example
from examples_envs import EXAMPLES
from examples_modules import LEARNERS, MODULES
from pruning_oracle import (
    Paths,
    check_moments,
    check_nothing_else_is_zero,
    check_report,
    check_runner,
    check_units,
    count,
    learner_module,
    paths_of,
)
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_ext import PruningConfig

TARGET = 0.6
EVERYTHING = [*MODULES, *LEARNERS, *EXAMPLES]


@dataclasses.dataclass(frozen=True)
class Unpruned:
    """An example as RLlib alone trains it.

    Attributes:
        checkpoint: After one iteration.
        paths: What its network is made of.
    """

    checkpoint: Path
    paths: Paths


def train_unpruned(example: Example, folder: Path) -> Unpruned:
    """Trains an example without this project."""
    algorithm = example.build(folder).build_algo()
    try:
        fresh = zeros_of(learner_module(algorithm))
        algorithm.train()
        algorithm.save_to_path(folder / "checkpoint")
        paths = dataclasses.replace(paths_of(algorithm), zeros=fresh)
    finally:
        algorithm.stop()
    return Unpruned(folder / "checkpoint", paths)


def zeros_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() == 0.0 for name, p in module.named_parameters()}


def pruning(example: Example, granularity: str, **changes: Any) -> PruningConfig:
    # Units are counted with the critic's, which then has no target of its own to be exact about.
    critic = example.critic if granularity == "weight" else 0.0
    return PruningConfig(
        final_sparsity=TARGET, critic_final_sparsity=critic, granularity=granularity, **changes
    )


def check(
    algorithm: Algorithm, paths: Paths, report: dict[str, Any], example: Example, granularity: str
) -> None:
    """Everything that holds at every moment, and the counts at the end of the schedule."""
    module = learner_module(algorithm)
    check_report(module, paths, report)
    check_nothing_else_is_zero(module, paths)
    check_moments(algorithm, paths)
    check_runner(algorithm, paths)
    zeros, total = count(paths.weights(module, paths.policy))
    if granularity == "weight":
        assert zeros == round(TARGET * total)
        check_critic(module, paths, example)
    else:
        assert TARGET / 2 < zeros / total <= TARGET
        assert check_units(module, paths) > 0


def check_critic(module: torch.nn.Module, paths: Paths, example: Example) -> None:
    critic = paths.weights(module, paths.critic)
    zeros, total = count(critic)
    if example.critic:
        assert zeros == round(example.critic * total)
    else:
        assert all(torch.equal(w == 0.0, paths.zeros[name]) for name, w in critic.items())
