"""Reads the dense checkpoint that a search starts from and locates its copy in the results folder."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.teaching import refuse_unteachable
from rllib_ext.checkpoint.warm_start import Initial, read_initial, refuse_other_network
from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.rl.prunable import fresh_network
from search.config.experiment import ExperimentConfig
from search.store.folder import INITIAL
from search.training.own_code import import_from_here


def initial_of(config: ExperimentConfig, ppo: PPOConfig) -> Initial | None:
    """Returns the state that members start from; None for fresh weights. Runs code from the checkpoint.

    Raises:
        CheckpointError: The checkpoint can't be read.
        ConfigError: The checkpoint has a different network, or can't be the requested teacher.
    """
    if config.init_checkpoint is None:
        return None
    import_from_here()
    folder = Path(config.init_checkpoint)
    initial = read_initial(folder)
    refuse_other_network(initial, ppo, folder)
    most = config.most("pruning.distil")
    if most > 0.0:
        module, _ = fresh_network(ppo)
        refuse_unteachable(config.pruning.replace(distil=most), initial.filters, module)
    return initial


def kept_initial(config: ExperimentConfig, results: Path) -> str:
    """Returns the file with the state that members start from; empty if they start from fresh weights.

    Args:
        config: The experiment. A file in the folder is used only if the experiment asks for one.
        results: Results folder of a search or of a recipe check.

    Raises:
        CheckpointError: The copy is missing, so members would start from something else.
    """
    if config.init_checkpoint is None:
        return ""
    path = results / INITIAL
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing, from which the members of this search start (init_checkpoint). Bring "
            "it back, such as from a backup, or begin a new search."
        )
    return str(path)
