"""Prepares a PPOConfig given in Python, stores it in the results folder, and reads it again.

`ppo_config.pkl` is a cloudpickle of it. Importable objects are stored by name; all others, such as
classes and functions of a script or a notebook, by value. Reading it runs code from it, as with
checkpoints.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.base.aside import write_aside
from rllib_ext.checkpoint.reading import readable
from rllib_ext.envs.env_maker import for_any_process
from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.config.experiment import ExperimentConfig
from search.store.folder import PPO_CONFIG, read_manifest, update_manifest
from search.training.own_code import import_from_here
from search.training.ppo_config import build_ppo, quieten_rllib, refuse_wrong_ppo

_DIGEST = "ppo_config_sha256"


def for_keeping(ppo_config: Any) -> PPOConfig:
    """Returns a pickled and unpickled copy that can build its environments in any process.

    Raises:
        ConfigError: `ppo_config` is not a PPO configuration, names no environment, or can't be pickled;
            the message says where and why.
    """
    if not isinstance(ppo_config, PPOConfig):
        raise ConfigError(
            f"search.run was given a {type(ppo_config).__name__}; expected a PPOConfig. A YAML file is "
            "searched by `prunefront search`."
        )
    copied: PPOConfig = pickle.loads(_pickled(ppo_config)).copy(copy_frozen=False)
    copied.environment(for_any_process(copied))
    return copied


def made_ready(
    ppo_config: PPOConfig, config: ExperimentConfig, resources: Mapping[str, Any]
) -> PPOConfig:
    """Returns the PPO configuration shared by all members, pickled and unpickled once.

    Args:
        ppo_config: PPO configuration returned by `for_keeping`; not modified.
        config: The experiment.
        resources: The settings of `config.resources` that replace the PPO configuration's own.

    Raises:
        ConfigError: A setting is refused, or can't be pickled; the message says which.
    """
    quieten_rllib()
    ppo: PPOConfig = ppo_config.copy(copy_frozen=False)
    if "cpus_per_member" in resources:
        cpus = config.resources.cpus_per_member
        ppo.resources(num_cpus_for_main_process=cpus).learners(num_cpus_per_learner=cpus)
    if "gpus_per_member" in resources:
        share = config.resources.gpus_per_member / max(1, ppo.num_learners or 0)
        ppo.learners(num_gpus_per_learner=share)
    refuse_wrong_ppo(ppo, config)
    kept: PPOConfig = pickle.loads(_pickled(ppo))
    return kept


def keep_ppo(ppo: PPOConfig, folder: Path) -> None:
    """Writes a PPO configuration into a results folder, and its digest into the manifest."""
    content = _pickled(ppo)
    write_aside(folder / PPO_CONFIG, lambda aside: aside.write_bytes(content))
    update_manifest(folder, **{_DIGEST: hashlib.sha256(content).hexdigest()})


def ppo_of(config: ExperimentConfig, folder: Path) -> PPOConfig:
    """Returns the PPO configuration shared by a search's members, from its folder or the experiment.

    Raises:
        ConfigError: RLlib or Gymnasium rejects something in it.
        ResultsError: The stored configuration is missing, or has changed since.
        CheckpointError: The stored configuration can't be read here.
    """
    if not config.from_python:
        return build_ppo(config)
    ppo = kept_ppo(folder)
    refuse_wrong_ppo(ppo, config)
    return ppo


def kept_ppo(folder: Path) -> PPOConfig:
    """Reads the PPO configuration that `keep_ppo` wrote. Runs code from it.

    Raises:
        ResultsError: The stored configuration is missing, or has changed since.
        CheckpointError: The stored configuration can't be read here.
    """
    path = folder / PPO_CONFIG
    if not path.is_file():
        raise ResultsError(
            f"{folder} is of a search that was given a PPOConfig in Python, and {PPO_CONFIG}, which "
            "keeps it, is missing. Copy the whole folder again."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != read_manifest(folder).get(_DIGEST):
        raise ResultsError(
            f"{path} is not what the search kept: its digest differs from the one in manifest.json. "
            "Reading it would run code from it; copy the folder again from where it is whole."
        )
    quieten_rllib()
    import_from_here()
    with readable(path):
        ppo: PPOConfig = pickle.loads(content)
    return ppo


def _pickled(ppo: PPOConfig) -> bytes:
    try:
        content: bytes = cloudpickle.dumps(ppo)
        pickle.loads(content)
    except Exception as error:
        # The configuration contains user code, which may raise anything.
        raise ConfigError(
            f"the PPOConfig can't be kept: {type(error).__name__}: {error}.{_culprit(ppo)} Members "
            "train in processes of their own, and a resumed search reads it again. Expected what can be "
            "pickled: let the environment, or a callback, open files, locks and connections itself."
        ) from error
    return content


def _culprit(ppo: PPOConfig) -> str:
    """Names the first attribute that can't be pickled, and the key if the attribute is a dictionary."""
    for name, value in vars(ppo).items():
        if _can_be_kept(value):
            continue
        keys = (
            [k for k, v in value.items() if not _can_be_kept(v)] if isinstance(value, dict) else []
        )
        return f" It is in {name.lstrip('_')}{f'[{keys[0]!r}]' if keys else ''}."
    return ""


def _can_be_kept(value: Any) -> bool:
    try:
        pickle.loads(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001
        # User code may raise anything, as above.
        return False
    return True
