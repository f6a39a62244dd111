"""A trained PPO checkpoint, pruned: at once, and trained on with its masks held."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_ext.checkpoint.reading import readable
from rllib_ext.checkpoint.warm_start import filters_of, show_filters, show_weights
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.rl.callback import foreach_learner
from rllib_ext.rl.with_pruning import build_algorithm, with_pruning


def in_one_process(ppo_config: PPOConfig, *, seed: int, lr: float | None = None) -> PPOConfig:
    """A copy of a configuration that samples, learns and is evaluated in the process that builds it.

    Batches stay as large as they were over all Learners.

    Args:
        ppo_config: A checkpoint's configuration; left as it is.
        seed: Fixes environments, actions and minibatches.
        lr: Learning rate; None: the checkpoint's own.
    """
    config: PPOConfig = ppo_config.copy(copy_frozen=False)
    learners, batch = max(1, config.num_learners or 0), config.total_train_batch_size
    config.env_runners(num_env_runners=0, create_local_env_runner=True)
    config.learners(
        num_learners=0,
        num_gpus_per_learner=min(1, config.num_gpus_per_learner) * torch.cuda.is_available(),
    )
    config.training(
        train_batch_size_per_learner=batch,
        minibatch_size=config.minibatch_size and config.minibatch_size * learners,
    )
    if lr is not None:
        config.training(lr=lr)
    config.evaluation(
        evaluation_interval=None,
        evaluation_num_env_runners=0,
        evaluation_parallel_to_training=False,
        # "auto" means as long as training takes beside it.
        evaluation_duration=1,
    )
    config.debugging(seed=seed, log_level="ERROR")
    return config


def load_for_pruning(
    folder: Path, ppo_config: PPOConfig, pruning_config: PruningConfig
) -> Algorithm:
    """Restores a checkpoint as an algorithm that prunes with its first update, or with `prune_now`.

    Args:
        folder: The checkpoint; loading it runs code from it.
        ppo_config: PPO configuration as returned by `in_one_process`.
        pruning_config: Pruning configuration; its schedule, horizon and start are not read.

    Raises:
        CheckpointError: The checkpoint can't be read, or is of another network.
        ConfigError: The policy can't be pruned in this way.
    """
    # As constant extent there is no horizon to speak of; and the checkpoint is no fresh network.
    pruning = pruning_config.replace(schedule="constant", horizon=1, start="dense")
    algorithm = build_algorithm(with_pruning(ppo_config, pruning, evaluated_outside=True))
    try:
        with readable(folder):
            algorithm.restore_from_path(folder.resolve())
            # RLlib passes over those of an algorithm that had no EnvRunner of its own.
            show_filters(algorithm, filters_of(folder))
        foreach_learner(algorithm, _take_clock, env_steps=env_steps_of(algorithm))
    except BaseException:
        algorithm.stop()
        raise
    return algorithm


def gather_statistics(algorithm: Algorithm, iterations: int) -> dict[str, Any]:
    """Trains on and returns the statistics of training that the algorithm's criterion reads.

    Args:
        algorithm: Algorithm from `load_for_pruning`, with a sparsity of 0; its weights change.
        iterations: Training iterations, ≥ 1.

    Returns:
        For `prune_now` of a fresh copy of the checkpoint with the same criterion.
    """
    for _ in range(iterations):
        algorithm.train()
    statistics: dict[str, Any] = foreach_learner(algorithm, _statistics)[0]
    return statistics


def prune_now(algorithm: Algorithm, statistics: Mapping[str, Any] | None = None) -> None:
    """Prunes to the configured extent and holds the masks for all training that follows.

    Args:
        algorithm: Algorithm as returned by `load_for_pruning`.
        statistics: Statistics as returned by `gather_statistics`, for criteria that read them.

    Raises:
        ScoreError: The weights cannot be ranked.
    """
    foreach_learner(algorithm, _prune, statistics=statistics)
    show_weights(algorithm)


def env_steps_of(algorithm: Algorithm) -> int:
    """Training env steps in the algorithm's life, those before its checkpoint included."""
    key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
    return int(algorithm.metrics.peek(key, default=0))


def report_of(algorithm: Algorithm) -> dict[str, Any]:
    """Returns current sparsities, counts and layers, as in a result's "pruning"."""
    report: dict[str, Any] = foreach_learner(algorithm, lambda learner: learner.pruner.report())[0]
    return report


def is_finite(algorithm: Algorithm) -> bool:
    """Whether all parameters are finite."""
    return all(bool(torch.isfinite(p).all()) for p in algorithm.get_module().parameters())


def _take_clock(learner: Any, env_steps: int) -> None:
    # Schedules of hyperparameters go on from where the checkpoint was.
    learner.pruner.env_steps = env_steps
    learner.use_configured_schedules()


def _statistics(learner: Any) -> Any:
    return learner.pruner.state_dict()["statistics"]


def _prune(learner: Any, statistics: Mapping[str, Any] | None) -> None:
    pruner = learner.pruner
    if statistics is not None:
        pruner.load_state_dict({**pruner.state_dict(), "statistics": statistics})
    pruner.before_update(pruner.env_steps)
    pruner.freeze_masks()
