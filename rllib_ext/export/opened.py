"""The parts of a policy: saved, in a checkpoint that RLlib itself wrote, or before any training.

The first two are pickles: opening one runs code from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from torch import Tensor

from rllib_ext.checkpoint.reading import check_layout, readable
from rllib_ext.policy.store import MASKS, METADATA, PARTS, PolicyParts
from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.masks import load_masks
from rllib_ext.rl.prunable import fresh_network

_MODULE = Path("learner_group") / "learner" / "rl_module" / DEFAULT_MODULE_ID
_RUNNERS = (Path("env_runner"), Path())


def open_saved(folder: Path) -> tuple[PolicyParts, dict[str, Tensor], dict[str, Any]]:
    """Opens a saved policy.

    Args:
        folder: A folder such as those under policies/ of a results folder.

    Returns:
        Its parts, masks by parameter name, and what its metadata says.

    Raises:
        CheckpointError: It is incomplete or damaged.
    """
    folder = folder.resolve()
    missing = [part for part in (*PARTS, METADATA, MASKS) if not (folder / part).exists()]
    if missing:
        raise CheckpointError(
            f"{folder} is not a saved policy: {', '.join(missing)} missing. Expected a folder under "
            "policies/ of a results folder."
        )
    with readable(folder):
        metadata = json.loads((folder / METADATA).read_text())
        parts = PolicyParts(
            module=RLModule.from_checkpoint(folder / "rl_module"),
            env_to_module=EnvToModulePipeline.from_checkpoint(folder / "env_to_module"),
            module_to_env=ModuleToEnvPipeline.from_checkpoint(folder / "module_to_env"),
        )
        return parts, load_masks(folder / MASKS), metadata


def open_unpruned(folder: Path) -> tuple[PolicyParts, dict[str, Tensor], dict[str, Any]]:
    """Opens the checkpoint of an RLlib algorithm; returns as `open_saved`.

    Args:
        folder: A checkpoint that `algo.save_to_path`, or Ray Tune, wrote.

    Raises:
        CheckpointError: It is no checkpoint of PPO with one policy on the new API stack, or damaged.
    """
    folder = folder.resolve()
    check_layout(folder)
    place = next(
        (folder / p for p in _RUNNERS if (folder / p / "env_to_module_connector").is_dir()), folder
    )
    with readable(folder):
        parts = PolicyParts(
            module=RLModule.from_checkpoint(folder / _MODULE),
            env_to_module=EnvToModulePipeline.from_checkpoint(place / "env_to_module_connector"),
            module_to_env=ModuleToEnvPipeline.from_checkpoint(place / "module_to_env_connector"),
        )
    return parts, {}, {}


def untrained(ppo: PPOConfig) -> PolicyParts:
    """The policy that training with a configuration begins with.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.

    Raises:
        ConfigError: RLlib can't build its network.
    """
    module, pipeline = fresh_network(ppo)
    whole = (pipeline.input_observation_space, pipeline.input_action_space)
    spaces: dict[str, Any] = dict.fromkeys((INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES), whole)
    spaces[DEFAULT_MODULE_ID] = (pipeline.observation_space, module.action_space)
    return PolicyParts(
        module=module,
        env_to_module=pipeline,
        module_to_env=ppo.build_module_to_env_connector(spaces=spaces),
    )
