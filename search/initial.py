"""A search that starts from a dense checkpoint: read once, kept in the results folder."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.initial import Initial, read_initial, refuse_other_network
from search.config import ExperimentConfig
from search.folder import INITIAL
from search.own_code import import_from_here


def initial_of(config: ExperimentConfig, ppo: PPOConfig) -> Initial | None:
    """What the members of a search start from; None: fresh weights. Runs code from the checkpoint.

    Raises:
        CheckpointError: The checkpoint can't be read.
        ConfigError: It is of another network.
    """
    if config.init_checkpoint is None:
        return None
    import_from_here()
    folder = Path(config.init_checkpoint)
    initial = read_initial(folder)
    refuse_other_network(initial, ppo, folder)
    return initial


def kept_initial(folder: Path) -> str:
    """Where a results folder, or the one that it lies in, keeps what members start from; "": nowhere."""
    found = [place / INITIAL for place in (folder, folder.parent) if (place / INITIAL).is_file()]
    return str(found[0]) if found else ""
