"""Segments trained by Ray Tune until whoever decides on them has none left."""

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
        ppo: What members share.
        folder: Where policies, training states and Tune's own files go.
        coordinator: Decides what is trained.
        engine: Trains.
        slots: How many of what Tune runs at once.
        display: Shows progress.
        initial: File of what members start from; "" for fresh weights.
        timed_form: The form that latency is taken in, where it is an objective.

    Raises:
        RunError: Nothing can be trained any more.
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
            # Tune's own files are on the same disk; it passes on the text of a traceback.
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
    # Tune would add TensorBoard's files too, of trials: a pack's show no member.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    trainable = tune.with_resources(
        tune.with_parameters(engine.trainable, settings=settings), engine.resources
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=scheduler,
            num_samples=-1,
            # Also how many actors start at once.
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
            # What is tried again is another trial: of a pack, only what is left is trained again.
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


def _unused(folder: Path, name: str) -> str:
    """Tune's folder: `tune`, then `tune-2` …: a resumed search must not meet the earlier one's state."""
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(n for n in names if not (folder / n).exists())


def slots_of(config: ExperimentConfig, engine: Engine) -> int:
    """How many of what Tune runs the connected cluster takes at once.

    Raises:
        ConfigError: Not even one.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return engine.slots(config, slots_on(machines, engine.resources, engine.unit))
