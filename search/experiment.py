"""One search, from its configuration to its report."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.algorithm import MemberSettings
from rllib_ext.pruning.errors import ConfigError, RunError
from search.archive import Archive
from search.config import ExperimentConfig
from search.coordinator import Coordinator, Progress
from search.engine import Engine, engine_of
from search.evaluation import evaluate_policies, evaluate_untrained
from search.folder import CONFIG, only_writer, provenance, update_manifest, write_aside
from search.front import candidates
from search.ppo import build_ppo, slots_that_fit
from search.report import write_report
from search.scheduler import ErrorNotes, SegmentScheduler, trial_name
from search.seeds import draw
from search.study import Study

logger = logging.getLogger(__name__)

# How often a segment is tried again before its member is replaced.
RETRIES = 1


class Display(Protocol):
    """Shows a person how a search is getting on."""

    def phase(self, title: str) -> None:
        """A new part of the work begins."""
        ...

    def searching(self, progress: Progress) -> None:
        """Members train."""
        ...

    def evaluating(self, done: int, total: int) -> None:
        """Policies are evaluated again."""
        ...


def run_search(
    config: ExperimentConfig,
    folder: Path,
    *,
    command: Sequence[str],
    display: Display,
    address: str | None = None,
) -> Path:
    """Runs a search to its report.

    Args:
        config: The experiment.
        folder: The results folder; empty.
        command: What was typed, for the manifest.
        display: Shows progress.
        address: Of a Ray cluster; None: one of its own on this machine.

    Returns:
        The report page.

    Raises:
        PrunefrontError: What was asked for is wrong, or the run failed; the folder stays readable.
        KeyboardInterrupt: The run was interrupted; so it does.
    """
    ppo = build_ppo(config)
    with only_writer(folder):
        started = time.monotonic()
        write_aside(folder / CONFIG, config.to_yaml())
        update_manifest(
            folder,
            **provenance(command),
            name=config.name,
            env=config.env,
            strategy=config.search.strategy,
            seed=config.seed,
            members=config.population.members,
            budget={"env_steps": config.budget.env_steps, "horizon": config.horizon},
            status="running",
        )
        status = "failed"
        try:
            connect(address)
            _search(config, ppo, folder, display)
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            update_manifest(folder, status=status, wall_time=time.monotonic() - started)
            ray.shutdown()
        display.phase("writing the report")
        return write_report(folder)


def _search(config: ExperimentConfig, ppo: PPOConfig, folder: Path, display: Display) -> None:
    engine = engine_of(config, ppo)
    slots = _slots(config, engine)
    cluster = ray.cluster_resources()
    update_manifest(
        folder,
        engine=engine.name,
        slots=slots,
        hardware={
            **provenance(())["hardware"],
            "cpus": cluster.get("CPU", 0),
            "gpus": cluster.get("GPU", 0),
        },
    )
    archive = Archive(folder)
    display.phase("measuring a random policy and constant actions")
    floor = evaluate_untrained(config, ppo, archive)
    study = Study(
        folder,
        config.name,
        config.space,
        seed=draw(config.seed, "choice", 1)[0],
        guided=config.search.strategy == "pareto_pbt",
        startup_trials=config.population.members,
    )
    coordinator = Coordinator(config, archive, study, floor)
    display.phase(f"training {config.population.members} members, {engine.describe(config, slots)}")
    try:
        _train(config, ppo, folder, coordinator, engine, slots, display)
    finally:
        coordinator.close()
        update_manifest(folder, env_steps=coordinator.spent, failures=coordinator.failures)
    snapshots = archive.snapshots()
    again = candidates(snapshots, config.evaluation.candidates)
    dense = archive.baselines()["dense"]
    policies = [(dense.name, dense.checkpoint), *((s.snapshot_id, s.checkpoint) for s in again)]
    display.phase(f"evaluating {len(policies)} policies on fresh seeds")
    evaluate_policies(config, ppo, archive, policies, display.evaluating)


def _train(
    config: ExperimentConfig,
    ppo: PPOConfig,
    folder: Path,
    coordinator: Coordinator,
    engine: Engine,
    slots: int,
    display: Display,
) -> None:
    settings = MemberSettings(
        folder=str(folder), ppo_config=ppo, evaluation_interval=config.evaluation.interval
    )
    scheduler = SegmentScheduler(
        coordinator,
        slots,
        lambda: display.searching(coordinator.progress),
        pack=engine.pack_size(config, slots),
    )
    trainable = tune.with_resources(
        tune.with_parameters(engine.trainable, settings=settings), engine.resources
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            stop={"segment_done": True},
            verbose=0,
            callbacks=[ErrorNotes(scheduler)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    tuner.fit()
    if scheduler.error is not None:
        raise scheduler.error
    if not coordinator.finished:
        raise RunError(
            "Ray Tune ended before the budget was spent; see tune/ in the results folder."
        )


def _slots(config: ExperimentConfig, engine: Engine) -> int:
    needed = engine.resources
    fit = slots_that_fit(needed, ray.cluster_resources())
    if fit < 1:
        raise ConfigError(
            f"a member needs {needed.required_resources}, but the cluster has "
            f"{ray.cluster_resources()} in all. Lower resources.cpus_per_member or ppo.env_runners."
        )
    return engine.slots(config, fit)


def connect(address: str | None = None) -> None:
    """Connects to a Ray cluster, quietly.

    Args:
        address: Of the cluster; None: one of its own on this machine.
    """
    environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # What Tune would print of a failed trial is in its folder, tune/<segment>/error.txt.
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _own_sigterm():
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            runtime_env=environment,
        )


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM: Ray sets one of its own that ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
