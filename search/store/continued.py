"""Reads the experiment of a results folder: the original one, or the same with a larger budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.config.experiment import ExperimentConfig
from search.config.loading import load_config, override_value, parse_config
from search.store.began_with import GROWS, differences, edited, recorded
from search.store.folder import CONFIG, MANIFEST, PRUNED, read_manifest

_LIMITS = ("env_steps", "seconds")


def load_config_of(folder: Path) -> ExperimentConfig:
    """Returns the experiment of a results folder: the original one, or with a larger budget.

    Raises:
        ResultsError: The folder or its configuration is missing, the configuration was edited since, or
            the folder was written by `prunefront prune`.
        ConfigError: The configuration is not valid in this version, or its budget was made smaller.
    """
    if not (folder / CONFIG).is_file():
        what = "is not a folder" if not folder.is_dir() else "holds no config.yaml"
        raise ResultsError(
            f"{folder} {what}. Expected the results folder of a search: the --output of `prunefront "
            "search`."
        )
    manifest = read_manifest(folder)
    if manifest.get("strategy") == PRUNED:
        raise ResultsError(
            f"{folder} was written by `prunefront prune`, and is no search that could go on. Expected "
            "the results folder of a search; to prune again, name another folder."
        )
    now = load_config(folder / CONFIG)
    before = recorded(manifest)
    if before is None:
        return now
    began = parse_config(before, f"what {folder / MANIFEST} keeps of the configuration")
    told = differences(now.model_dump(mode="json"), began.model_dump(mode="json"), but=GROWS)
    if now.budget.horizon not in (None, began.horizon):
        told.append(f"budget.horizon = {now.budget.horizon}, and it was {began.horizon}")
    if told:
        raise edited(folder, told)
    budgets = {name: (getattr(now.budget, name), getattr(began.budget, name)) for name in _LIMITS}
    return extended(
        began,
        [
            f"budget.{name}={'null' if new is None else new}"
            for name, (new, old) in budgets.items()
            if new != old
        ],
    )


def extended(config: ExperimentConfig, overrides: Iterable[str]) -> ExperimentConfig:
    """Returns the experiment with a larger budget; everything else stays, including the horizon.

    Raises:
        ConfigError: An override changes anything but `budget.env_steps` and `budget.seconds`, or the
            budget becomes smaller, gets a limit that it didn't have, or cannot be spent.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        if override.partition("=")[0] not in {f"budget.{name}" for name in _LIMITS}:
            raise ConfigError(
                f"{override!r}: a search that goes on stays the one it was. Only budget.env_steps and "
                "budget.seconds can be changed; for anything else begin a new search."
            )
        override_value(values, override)
    if not values:
        return config
    changed = config.model_dump(mode="json")
    changed["budget"] = {**changed["budget"], "horizon": config.horizon, **values["budget"]}
    more = parse_config(changed, "the search with a larger budget")
    pairs = {name: (getattr(config.budget, name), getattr(more.budget, name)) for name in _LIMITS}
    for name, (before, after) in pairs.items():
        if after is not None and before is None:
            raise ConfigError(
                f"budget.{name} = {after:,}, but the search was given no such limit. Raise the one that "
                "it was given, or name nothing to go on with that."
            )
        if after is not None and before is not None and after < before:
            raise ConfigError(
                f"budget.{name} = {after:,} is less than the {before:,} that the search was given. "
                "Expected more, or nothing to go on with the budget that it has."
            )
    before, after = pairs["env_steps"]
    if config.search.strategy == "train_then_prune" and after != before:
        raise ConfigError(
            f"budget.env_steps = {after:,}: with search.strategy=train_then_prune the budget was shared "
            "out when the search began. Begin a new search with a larger one."
        )
    return config if all(after == before for before, after in pairs.values()) else more


def limit_that_ended(budget: Mapping[str, Any], trained: float) -> str:
    """Returns the limit that ended a finished search; only raising this limit extends it.

    Args:
        budget: Limits "env_steps" and "seconds", as far as they were given.
        trained: Training env steps of all members.

    Returns:
        "env_steps" or "seconds".
    """
    steps, seconds = budget.get("env_steps"), budget.get("seconds")
    return "env_steps" if steps and (not seconds or trained >= steps) else "seconds"
