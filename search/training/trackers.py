"""Logs each member's losses, sparsity and return to experiment trackers, over its lineage's clock.

TensorBoard's files are written into the results folder; Weights & Biases and MLflow are optional. All
three show one run per member, regardless of the Tune trials in which its segments were trained.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback
from typing_extensions import override

from rllib_ext.base.extras import install
from rllib_ext.base.hints import nearest
from rllib_ext.member.segment import MEMBERS, Segment, member_name, segments_of
from rllib_ext.pruning.errors import ConfigError
from search.cluster.connection import first_line
from search.config.experiment import ExperimentConfig
from search.store.folder import read_manifest
from search.training.beside import Beside
from search.training.member_runs import MemberRuns, MLflowRuns, TensorBoardRuns, WandbRuns

# Folder of TensorBoard's files in a results folder.
TENSORBOARD = "tensorboard"
# Logged parts of a result, the same for both engines, and logged values of its snapshot.
PARTS = ("pruning", "learners", "env_runners")
EVALUATED = ("return_mean", "return_std", "sparsity", "critic_sparsity", "nonzero_params")


def refuse_missing(config: ExperimentConfig) -> None:
    """Checks that the packages of the configured trackers are installed and their settings are known.

    Raises:
        ConfigError: A package is missing, or a setting is unknown.
    """
    for name, settings in _asked(config):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"trackers.{name}: the package {name} is not installed. Install it: "
                f"{install(name)}."
            )
        known = _known(name)
        for key in settings:
            if key not in known:
                raise ConfigError(f"trackers.{name}: unknown key {key!r}.{nearest(key, known)}")


def trackers(config: ExperimentConfig, folder: Path, note: Callable[[str], None]) -> list[Tracker]:
    """Returns the callbacks that log a search's members; the caller closes them after the training.

    Args:
        config: The experiment.
        folder: The results folder.
        note: Callback for messages about problems with a tracker.

    Raises:
        ConfigError: A tracker's package isn't installed, or it can't be reached.
    """
    refuse_missing(config)
    search = _name_of(config, folder)
    made: dict[str, Callable[[Mapping[str, Any]], MemberRuns]] = {
        "wandb": lambda given: WandbRuns(
            {"project": config.name, "dir": str(folder), **given}, search
        ),
        "mlflow": lambda given: MLflowRuns({"experiment_name": config.name, **given}, search),
    }
    found: dict[str, MemberRuns] = {name: made[name](given) for name, given in _asked(config)}
    if config.trackers.tensorboard:
        found["tensorboard"] = TensorBoardRuns(folder / TENSORBOARD)
    return [Tracker(_started(found), note)] if found else []


class Tracker(LoggerCallback):
    """A Tune callback that logs members rather than trials.

    Args:
        trackers: Trackers that write the runs.
        note: Callback for messages about problems with a tracker.
    """

    def __init__(self, trackers: Sequence[Beside], note: Callable[[str], None]) -> None:
        self._trackers = trackers
        self._note = note
        # Segments whose hyperparameters are still to be logged, by trial and member.
        self._begun: dict[tuple[str, int], Segment] = {}

    @override
    def log_trial_start(self, trial: Trial) -> None:
        for segment in segments_of(trial.config):
            self._begun[trial.trial_id, segment.member] = segment

    @override
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        for of_member in _results(result):
            member = int(of_member["member"])
            figures, labels = dict(_figures(of_member)), dict[str, str]()
            if segment := self._begun.pop((trial.trial_id, member), None):
                numbers, labels = _hyperparameters(segment)
                figures |= numbers
            if of_member.get("failure"):
                labels["failure"] = str(of_member["failure"])
            for tracker in self._trackers:
                tracker.log(member_name(member), figures, labels, int(of_member["env_steps"]))
                for told in tracker.trouble():
                    self._note(told)

    @override
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Does nothing, as a member's run continues with its next segment."""

    def close(self) -> None:
        """Closes all runs and waits for that."""
        for tracker in self._trackers:
            tracker.end()
            for told in tracker.trouble():
                self._note(told)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts to restore an experiment; our search resumes from the archive instead.
        return {}


def _started(runs: Mapping[str, MemberRuns]) -> list[Beside]:
    for name, each in runs.items():
        try:
            each.start()
        # Tracker libraries talk to a network, and their exceptions have no common base class.
        except Exception as error:
            raise ConfigError(
                f"trackers.{name}: {type(error).__name__}: {first_line(error)} Check its settings and "
                "that it can be reached from here, or leave it out."
            ) from error
    return [Beside(name, each) for name, each in runs.items()]


def _asked(config: ExperimentConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("wandb", "mlflow"):
        settings = getattr(config.trackers, name)
        if settings is not None:
            yield name, settings


def _known(name: str) -> list[str]:
    if name == "mlflow":
        return sorted(MLflowRuns.KEYS)
    import wandb

    return sorted(set(inspect.signature(wandb.init).parameters) - set(WandbRuns.OWN))


def _name_of(config: ExperimentConfig, folder: Path) -> str:
    """Returns a name that is unique to a search and the same after it is resumed."""
    # A recipe check is in a subfolder of its search's folder and has no manifest of its own.
    known = read_manifest(folder) or read_manifest(folder.parent)
    told = json.dumps([config.name, config.seed, known.get("started"), folder.name])
    return f"{config.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _results(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the results of a trial's members: those of a pack, or of its single member."""
    if MEMBERS in result:
        return [dict(member) for member in json.loads(result[MEMBERS])]
    return [dict(result)] if "member" in result else []


def _figures(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the finite numbers of a member's result and its snapshot, with their paths."""
    yield "segment", float(result["segment"])
    for part in PARTS:
        yield from _numbers(result.get(part) or {}, f"{part}/")
    if snapshot := result.get("snapshot"):
        known = json.loads(snapshot) if isinstance(snapshot, str) else snapshot
        yield from _numbers({name: known[name] for name in EVALUATED}, "evaluation/")


def _numbers(values: Mapping[str, Any], above: str) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{above}{key}/")
        elif _is_number(value) and math.isfinite(value):
            yield f"{above}{key}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hyperparameters(segment: Segment) -> tuple[dict[str, float], dict[str, str]]:
    """Returns a segment's hyperparameters as numbers and labels, without seeds and paths."""
    given = {"pruning": segment.pruning, "training": segment.training}
    numbers = dict(_numbers(given, "hyperparameters/"))
    labels = {
        f"hyperparameters/{group}/{name}": str(value)
        for group, values in given.items()
        for name, value in values.items()
        if value is not None and f"hyperparameters/{group}/{name}" not in numbers and value != ()
    }
    return numbers, {**labels, "parent": segment.parent or "its own birth"}
