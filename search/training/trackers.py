"""Experiment trackers beside Tune's own files: Weights & Biases and MLflow, through Tune's callbacks."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback
from typing_extensions import override

from rllib_ext.base.extras import install
from rllib_ext.base.hints import nearest
from rllib_ext.member.segment import MEMBERS, Segment, segment_name, segments_of
from rllib_ext.pruning.errors import ConfigError
from search.cluster.connection import first_line
from search.config.experiment import ExperimentConfig

_COUNTERS = {"training_iteration", "timesteps_total"}


def refuse_missing(config: ExperimentConfig) -> None:
    """Looks whether what the trackers of a configuration need is here.

    Raises:
        ConfigError: A package is missing, or a setting is unknown.
    """
    for name, settings in _asked(config):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"trackers.{name}: the package {name} is not installed. Install it: "
                f"{install(name)}."
            )
        known = inspect.signature(_callback_class(name)).parameters
        unknown = [key for key in settings if key not in known]
        # W&B hands what it does not know on to wandb.init.
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise ConfigError(
                f"trackers.{name}: unknown key {unknown[0]!r}.{nearest(unknown[0], sorted(known))}"
            )


def trackers(config: ExperimentConfig) -> list[LoggerCallback]:
    """Callbacks for Tune that log every segment as a run of the trackers that are asked for.

    Raises:
        ConfigError: A tracker's package isn't installed.
    """
    refuse_missing(config)
    # Newer MLflow refuses folders, which it keeps but no longer extends; who names one wants one.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    defaults = {"wandb": {"project": config.name}, "mlflow": {"experiment_name": config.name}}
    return [
        Tracker(name, _callback_class(name)(**{**defaults[name], **settings}))
        for name, settings in _asked(config)
    ]


class Tracker(LoggerCallback):
    """Lets a logger of Tune's see segments where Tune has trials.

    A segment becomes a run with its hyperparameters and its figures, whether it is trained by itself or
    in a pack; seeds and paths, which Tune's trials carry too, stay away.

    Args:
        name: In a configuration.
        logger: One of Tune's.
    """

    def __init__(self, name: str, logger: LoggerCallback) -> None:
        self._name = name
        self._logger = logger
        self._runs: dict[str, dict[int, Run]] = {}

    @override
    def setup(self, *arguments: Any, **more: Any) -> None:
        """Sets the tracker up.

        Raises:
            ConfigError: The tracker can't be reached, or refuses what it was given.
        """
        try:
            self._logger.setup(*arguments, **more)
        # A tracker is a network of somebody else's: what it raises has no common root.
        except Exception as error:
            raise ConfigError(
                f"trackers.{self._name}: {type(error).__name__}: {first_line(error)} Check its "
                "settings and that it can be reached from here, or leave it out."
            ) from error

    def log_trial_start(self, trial: Trial) -> None:
        """Opens the runs of a trial's segments."""
        if trial.trial_id in self._runs:
            return
        self._runs[trial.trial_id] = runs = {
            s.member: Run(trial, s) for s in segments_of(trial.config)
        }
        for run in runs.values():
            self._logger.log_trial_start(run)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Logs the figures of each segment."""
        runs = self._runs.get(trial.trial_id, {})
        for member in _results(result):
            run = runs.get(member["member"])
            if run is None:
                continue
            figures = dict(_figures(member))
            figures["timesteps_total"] = int(member["env_steps"])
            figures["training_iteration"] = int(member.get("iteration", iteration))
            self._logger.log_trial_result(iteration, run, figures)
            if member["segment_done"]:
                self._logger.log_trial_end(runs.pop(run.member), bool(member.get("failure")))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the runs that are still open."""
        for run in self._runs.pop(trial.trial_id, {}).values():
            self._logger.log_trial_end(run, failed)

    @override
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self._logger.on_experiment_end(trials, **info)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its parts to restore an experiment by itself; ours goes on from the archive.
        return {}


class Run:
    """A segment, as a logger of Tune's sees a trial.

    Args:
        trial: That it is trained in.
        segment: The segment.
    """

    def __init__(self, trial: Trial, segment: Segment) -> None:
        self._trial = trial
        self.member = segment.member
        self.trial_name = segment_name(segment.member, segment.segment)
        self.trial_id = f"{trial.trial_id}_{self.trial_name}"
        self.config = {
            "member": segment.member,
            "segment": segment.segment,
            "parent": segment.parent,
            "pruning": {k: v for k, v in segment.pruning.items() if v is not None},
            "training": dict(segment.training),
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return self.trial_name

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.trial_id == self.trial_id


def _asked(config: ExperimentConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in type(config.trackers).model_fields:
        settings = getattr(config.trackers, name)
        if settings is not None:
            yield name, settings


def _callback_class(name: str) -> Any:
    if name == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        return WandbLoggerCallback
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback


def _results(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of a trial's members: of a pack's, or of the one that trains by itself."""
    if MEMBERS in result:
        return [dict(member) for member in json.loads(result[MEMBERS])]
    return [dict(result)] if "member" in result else []


def _figures(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Finite numbers of a result by their path; those of its snapshot too."""
    for key, value in values.items():
        path = f"{above}{key}"
        if key == "snapshot":
            snapshot = json.loads(value) if isinstance(value, str) else value
            names = ("return_mean", "return_std", "sparsity", "critic_sparsity", "nonzero_params")
            yield from _figures({n: snapshot[n] for n in names}, "evaluation/")
        elif isinstance(value, Mapping) and key != "config":
            yield from _figures(value, f"{path}/")
        elif isinstance(value, bool) or key in _COUNTERS:
            continue
        elif isinstance(value, int | float) and math.isfinite(value):
            yield path, float(value)
