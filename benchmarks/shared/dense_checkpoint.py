"""Trains the dense policy that searches with `init_checkpoint` start from."""

from __future__ import annotations

from pathlib import Path

from benchmarks.shared.cluster import start_ray
from rllib_ext.envs.env_maker import for_rllib
from search.config.experiment import ExperimentConfig
from search.training.ppo_config import build_ppo


def dense_checkpoint(config: ExperimentConfig, folder: Path) -> Path:
    """Trains a dense policy with RLlib for one member's horizon, unless the folder has one.

    Args:
        config: A search; its environment, network, PPO settings, horizon and seed are used.
        folder: Destination folder of the checkpoint.

    Returns:
        The folder, which holds a checkpoint as RLlib writes it.
    """
    if folder.is_dir():
        return folder
    start_ray(1)
    ppo = build_ppo(config).debugging(seed=config.seed)
    # RLlib itself passes a mapping to environments that take keyword arguments.
    algorithm = ppo.environment(for_rllib(ppo)).build_algo()
    try:
        while algorithm.train()["num_env_steps_sampled_lifetime"] < config.horizon:
            pass
        aside = folder.with_name(f"{folder.name}.aside")
        algorithm.save_to_path(aside.resolve())
        aside.rename(folder)
    finally:
        algorithm.stop()
    return folder
