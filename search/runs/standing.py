"""Determines whether a search has begun or finished in a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rllib_ext.pruning.errors import ResultsError
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config
from search.config.sizing import sized_as
from search.front.read_results import read_results
from search.front.results import Results
from search.store.began_with import BEGAN_WITH, differences, recorded
from search.store.continued import limit_that_ended, load_config_of
from search.store.folder import (
    CONFIG,
    FINISHED,
    MANIFEST,
    PAGE,
    REPORTED,
    is_free,
    read_manifest,
    refuse_taken,
)

Standing = Literal["new", "begun", "finished"]


def standing_of(config: ExperimentConfig, folder: Path) -> Standing:
    """Returns whether a search in a folder is new, begun or finished.

    Args:
        config: The experiment.
        folder: The results folder; missing or empty if the search has not begun.

    Raises:
        ResultsError: The folder contains something else, such as another search.
        ConfigError: The configuration in the folder can't be read.
    """
    if is_free(folder):
        return "new"
    if not (folder / CONFIG).is_file():
        refuse_taken(folder)
    began = load_config_of(folder).model_dump(mode="json")
    if told := differences(config.model_dump(mode="json"), began):
        raise ResultsError(
            f"{folder} is not empty and holds another search: {'; '.join(told)}. Name another folder "
            f"with --output. More budget for the search that is there: `prunefront resume {folder} "
            "budget.env_steps=…`."
        )
    return "finished" if has_finished(config, folder) else "begun"


def as_begun(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Fills in the settings that an experiment leaves open from the search that began in a folder.

    These are the evaluation settings that are chosen automatically, and `vectorize`.

    Args:
        config: The experiment.
        folder: The results folder; if no search has begun there, the experiment is unchanged.
    """
    if not (folder / CONFIG).is_file():
        return config
    return sized_as(config, load_config_of(folder))


def has_finished(config: ExperimentConfig, folder: Path) -> bool:
    """Whether a search has finished with its current budget.

    Args:
        config: The experiment.
        folder: Its results folder.
    """
    manifest = read_manifest(folder)
    if manifest.get("status") != FINISHED:
        return False
    values = recorded(manifest)
    # Manifests of earlier versions don't contain the configuration, which is then read from its file.
    before = (
        load_config_of(folder)
        if values is None
        else parse_config(values, f"{folder / MANIFEST}: {BEGAN_WITH}")
    )
    # Plain values are compared, as a model with a NaN, such as in `env_config`, isn't equal to itself.
    return not differences(config.model_dump(mode="json"), before.model_dump(mode="json"))


def is_reported(folder: Path) -> bool:
    """Whether a finished search has a report that is not older than its extension."""
    return (folder / PAGE).is_file() and bool(read_manifest(folder).get(REPORTED, True))


def finished_results(config: ExperimentConfig, folder: Path) -> Results | None:
    """Returns the results of a search that has finished and has its report; None if it isn't done.

    Args:
        config: The experiment.
        folder: Its results folder.
    """
    if not (has_finished(config, folder) and is_reported(folder)):
        return None
    return read_results(folder)


def how_to_extend(config: ExperimentConfig, folder: Path) -> str:
    """Returns a message that a search has finished, and how to extend it.

    Args:
        config: The experiment.
        folder: Its results folder.
    """
    told = "this search has finished, and nothing is left to do."
    if config.search.strategy == "train_then_prune":
        return (
            f"{told} Its budget was shared out when it began: begin a new one with a larger budget."
        )
    spent = read_manifest(folder).get("env_steps")
    trained = spent.get("training", 0) if isinstance(spent, dict) else 0
    limit = limit_that_ended(config.budget.model_dump(), trained)
    more = f"budget.{limit}={2 * (getattr(config.budget, limit) or 0):.15g}"
    return f"{told} More budget extends it: prunefront resume {folder} {more}"
