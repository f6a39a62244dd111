"""A search from Python: of a PPOConfig with all that is in it."""

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

# What the PPOConfig says.
_SAID = ("env", "env_config", "ppo", "from_python")


def run(
    ppo_config: PPOConfig,
    settings: Mapping[str, Any] | str | Path,
    *,
    output: str | Path | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> ShownResults:
    """Searches the reward–sparsity front of a PPO configuration, to the report.

    Environment, RLModule, connectors, Learner, callbacks and resources are those of the configuration,
    its EnvRunners too: PPOConfig's own two make a member three processes, `num_env_runners=0` one. It is
    kept in the results folder, so that `prunefront resume`, `retrain` and `evaluate` go on from
    there.

    Args:
        ppo_config: Any of RLlib's new API stack with one policy; left as it is.
        settings: What a YAML file says but for `env`, `env_config` and `ppo`, such as `{"search":
            {"space": {...}}, "budget": {"env_steps": 100_000}}`, or the path of such a file. `resources`
            replace the configuration's own where they are given.
        output: The results folder; None: one under results/.
        address: The address of a Ray cluster that this machine belongs to; None: one of its own.
        quiet: Whether to show no progress.

    Returns:
        What came of it; displays itself in a notebook.

    Raises:
        ConfigError: Something in the configuration or the settings is refused.
        RunError: The run failed; `prunefront resume` goes on from the results folder.
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
    """The experiment, as its results folder describes it: the environment by name.

    Args:
        ppo: What `search.training.given_ppo.for_keeping` returned.
        settings: What `run` was given.

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
