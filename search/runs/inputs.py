"""Opens the inputs of commands: an algorithm's checkpoint or a saved policy, and its environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import yaml
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.reading import check_layout, read_ppo_config
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.envs.missing import missing_hint
from rllib_ext.policy.store import MASKS, METADATA
from rllib_ext.pruning.errors import CheckpointError, ConfigError
from search.store.began_with import refuse_edited
from search.store.folder import CONFIG, PPO_CONFIG
from search.training.given_ppo import kept_ppo
from search.training.own_code import import_from_here
from search.training.ppo_config import environment, quieten_rllib

Say = Callable[[str], None]
RUNS_CODE = (
    "loading {path} runs code from it: RLlib's checkpoints are pickles. Load what you trust."
)


def open_checkpoint(path: Path, env: str | None, say: Say) -> PPOConfig:
    """Returns the configuration of an algorithm's checkpoint, with an environment that can be built.

    Args:
        path: Folder of the checkpoint.
        env: Environment to use instead of the one that the checkpoint names.
        say: Callback for the warning that code is about to run.

    Raises:
        CheckpointError: The checkpoint is damaged, or not of PPO with one policy on the new API stack.
        ConfigError: The environment can't be built.
    """
    check_layout(path)
    say(RUNS_CODE.format(path=path))
    quieten_rllib()
    import_from_here()
    return _with_env(read_ppo_config(path), path, env)


def open_policy(path: Path, env: str | None, say: Say) -> PPOConfig:
    """Returns a configuration that names the environment of a saved policy.

    Args:
        path: Folder of the policy, such as one under policies/ in a results folder.
        env: Environment to use instead of the one that the results folder or the policy names.
        say: Callback for the warning that code is about to run.

    Raises:
        CheckpointError: The policy's description can't be read.
        ConfigError: The environment can't be built.
    """
    return _described(path, path / METADATA, path.resolve().parent.parent, env, say)


def open_results(folder: Path, env: str | None, say: Say) -> PPOConfig:
    """Returns a configuration that names the environment of a search's policies.

    Args:
        folder: The results folder.
        env: Environment to use instead of the one that the results folder names.
        say: Callback for the warning that code is about to run.

    Raises:
        CheckpointError: The configuration can't be read.
        ConfigError: The environment can't be built.
    """
    return _described(folder, folder / METADATA, folder, env, say)


def is_policy(path: Path) -> bool:
    """Whether a folder is a saved policy rather than an algorithm's checkpoint."""
    return (path / MASKS).is_file()


def _with_env(ppo: PPOConfig, path: Path, env: str | None) -> PPOConfig:
    if env is not None:
        ppo.environment(environment(env))
    if ppo.env is None:
        raise ConfigError(
            f"{path} names no environment. Name it with --env: a Gymnasium id or 'package.module:Class'."
        )
    try:
        env_maker(ppo)().close()
    except (gymnasium.error.Error, ImportError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the environment {env_name(ppo)!r} of {path} cannot be built here: {error}"
            f"{missing_hint(env_name(ppo), error)} Where it was registered by a script, name the class "
            "with --env 'package.module:Class'."
        ) from error
    return ppo


def _described(path: Path, metadata: Path, results: Path, env: str | None, say: Say) -> PPOConfig:
    """Returns a configuration with the environment described by a results folder or else by metadata."""
    say(RUNS_CODE.format(path=path))
    quieten_rllib()
    import_from_here()
    if (results / PPO_CONFIG).is_file():
        return _with_env(kept_ppo(results), path, env)
    known = _described_env(path, metadata, results / CONFIG)
    ppo = PPOConfig().environment(
        environment(known["env"]) if known["env"] and env is None else None,
        env_config=known["env_config"],
    )
    return _with_env(ppo, path, env)


def _described_env(path: Path, metadata: Path, config: Path) -> dict[str, Any]:
    try:
        found = json.loads(metadata.read_text()) if metadata.is_file() else {}
        if config.is_file():
            values = yaml.safe_load(config.read_text()) or {}
            refuse_edited(config.parent, values)
            found = {**found, **values}
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{path}: what it says of itself cannot be read: {error}. Copy it again."
        ) from error
    return {"env": found.get("env"), "env_config": dict(found.get("env_config") or {})}
