"""Trains segments with Ray Tune until none are left."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import ray
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import Callback
from ray.tune.error import TuneError
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback

from rllib_ext.member.trainable import MemberSettings
from rllib_ext.pruning.errors import RunError
from search.cluster.connection import waits_for
from search.cluster.failure import reason_of
from search.cluster.machines import slots_on
from search.cluster.shared_folder import SharedFolder
from search.cluster.tune_controller import Supervisor, supervised
from search.config.experiment import ExperimentConfig
from search.population.progress import Display
from search.training.engine import Engine
from search.training.lean_trials import LeanTrials
from search.training.memory_kills import survived
from search.training.segment_scheduler import (
    Decides,
    ErrorNotes,
    SegmentScheduler,
    UntilOver,
    trial_name,
)
from search.training.trackers import trackers


def train(
    config: ExperimentConfig,
    ppo: PPOConfig,
    folder: Path,
    coordinator: Decides,
    engine: Engine,
    slots: int,
    display: Display,
    *,
    initial: str = "",
    timed_form: str = "",
) -> None:
    """Trains segments with Ray Tune until the coordinator has none left.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.
        folder: Folder for policies, training states and Tune's own files.
        coordinator: Object that decides which segments are trained.
        engine: Engine that trains the members.
        slots: Number of trials that run at once.
        display: Display for progress.
        initial: File with the state that members start from; empty for fresh weights.
        timed_form: Form in which latency is measured; empty if it isn't an objective.

    Raises:
        RunError: The training can't go on.
    """
    with SharedFolder(folder, display.note) as shared:
        scheduler = SegmentScheduler(
            coordinator,
            slots,
            lambda: display.searching(coordinator.progress),
            pack=engine.pack_size(config, slots),
            shared=shared,
        )
        settings = MemberSettings(
            folder=str(folder),
            ppo_config=ppo,
            evaluation_interval=config.evaluation.interval,
            initial=initial,
            measured=config.search.measured,
            timed_form=timed_form,
            deadline=time.time() + coordinator.progress.seconds_left,
            token=shared.token,
        )
        supervisor = Supervisor(
            scheduler,
            shared,
            display.note,
            lambda: waits_for(engine.unit, engine.resources.required_resources, shared.avoided),
        )
        name = _unused(folder, "tune")
        logging = trackers(config, folder, display.note)
        tuner = _tuner(logging, folder / name, engine, slots, scheduler, settings)
        display.searching(coordinator.progress)
        try:
            with survived(), supervised(supervisor):
                tuner.fit()
        except (OSError, TuneError) as error:
            # Tune writes to the same disk, and its errors carry a traceback as text.
            raise scheduler.error or RunError(reason_of(str(error))) from error
        finally:
            for tracker in logging:
                tracker.close()
    if scheduler.error is not None:
        raise scheduler.error
    if not coordinator.finished:
        raise RunError(f"Ray Tune ended before all was trained; see {folder / name}.")


def _tuner(
    logging: Sequence[Callback],
    folder: Path,
    engine: Engine,
    slots: int,
    scheduler: SegmentScheduler,
    settings: MemberSettings,
) -> tune.Tuner:
    # Tune would also write TensorBoard files of trials, and those of a pack show no single member.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    trainable = tune.with_resources(
        tune.with_parameters(engine.trainable, settings=settings), engine.resources
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=scheduler,
            num_samples=-1,
            # This also limits how many actors start at once.
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            stop=UntilOver(scheduler),
            verbose=0,
            callbacks=[
                ErrorNotes(scheduler),
                *logging,
                LeanTrials(),
                CSVLoggerCallback(),
                JsonLoggerCallback(),
            ],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            # A retry is a new trial, so that of a pack only the remaining segments are trained again.
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


def _unused(folder: Path, name: str) -> str:
    """Returns the first unused of `tune`, `tune-2`, …, so a resumed search finds no earlier state."""
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(n for n in names if not (folder / n).exists())


def slots_of(config: ExperimentConfig, engine: Engine) -> int:
    """Returns the number of trials that the connected cluster runs at once.

    Raises:
        ConfigError: Not even one trial fits on it.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return engine.slots(config, slots_on(machines, engine.resources, engine.unit))
