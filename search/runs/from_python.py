"""Runs a search from Python, with a PPOConfig and all that it contains."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_name
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config, read_values
from search.report.notebook import ShownResults, shown
from search.runs.display.opened import display_for
from search.runs.search import run_search
from search.store.folder import place_of
from search.training.given_ppo import for_keeping, made_ready

# Settings that the PPOConfig determines.
_SAID = ("env", "env_config", "ppo", "from_python")


def run(
    ppo_config: PPOConfig,
    settings: Mapping[str, Any] | str | Path,
    *,
    output: str | Path | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> ShownResults:
    """Searches the reward–sparsity front of a PPO configuration and writes the report.

    Environment, RLModule, connectors, Learner, callbacks and resources are those of the configuration.
    So are its EnvRunners: with PPOConfig's default of two, each member uses three processes; with
    `num_env_runners=0`, one. The configuration is stored in the results folder, so that `prunefront
    resume`, `retrain` and `evaluate` can continue from there.

    Args:
        ppo_config: Any PPOConfig of RLlib's new API stack with one policy; not modified.
        settings: Settings as in a YAML file, except `env`, `env_config` and `ppo`, such as `{"search":
            {"space": {...}}, "budget": {"env_steps": 100_000}}`, or the path of such a file. Any
            `resources` that are given replace the configuration's own.
        output: The results folder; None for a new one under results/.
        address: Address of a Ray cluster that this machine belongs to; None to start one here.
        quiet: Whether to show no progress.

    Returns:
        The results, which display themselves in a notebook.

    Raises:
        ConfigError: Something in the configuration or the settings is refused.
        RunError: The run failed; `prunefront resume` continues from the results folder.
    """
    values = _values(settings)
    kept = for_keeping(ppo_config)
    config = experiment_of(kept, values)
    ppo = made_ready(kept, config, values.get("resources") or {})
    if ray.is_initialized():
        raise ConfigError(
            "Ray runs in this process already, and a search connects to a cluster in its own way. Call "
            "ray.shutdown() first; a cluster of yours is named by address=."
        )
    folder = place_of(config.name, Path(output) if output is not None else None)
    with display_for(quiet=quiet) as display:
        return shown(
            run_search(
                config,
                folder,
                command=["python", *sys.argv],
                display=display,
                address=address,
                ppo=ppo,
            )
        )


def _values(settings: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    values = dict(settings) if isinstance(settings, Mapping) else read_values(Path(settings))
    for key in _SAID:
        if key in values:
            raise ConfigError(
                f"settings: {key!r} is what the PPOConfig says; leave it out, or search the file as it "
                "is with `prunefront search`."
            )
    return values


def experiment_of(ppo: PPOConfig, settings: Mapping[str, Any]) -> ExperimentConfig:
    """Returns the experiment as described in its results folder, with the environment by name.

    Args:
        ppo: PPO configuration returned by `search.training.given_ppo.for_keeping`.
        settings: Settings given to `run`.

    Raises:
        ConfigError: Something in the settings is refused.
    """
    name = env_name(ppo)
    described = {
        "env": name,
        "env_config": json.loads(json.dumps(dict(ppo.env_config), default=repr)),
        "from_python": True,
    }
    default = re.sub(r"[^A-Za-z0-9]+", "-", name.rpartition(":")[2]).strip("-").lower()
    return parse_config({"name": default or "search", **settings, **described}, "settings")
