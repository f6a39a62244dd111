"""Trains baselines as Ray tasks once the front is known, in packs where possible."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.base.aside import take_place
from rllib_ext.pruning.errors import RunError
from search.cluster.tasks import Task, run_tasks
from search.cluster.waiting import Say
from search.config.experiment import ExperimentConfig
from search.evaluation.held_out import Done
from search.population.baseline_plan import Planned
from search.store.archive import LEFT_OUT, Archive, Baseline
from search.store.deletion import remove
from search.training.baseline_jobs import Job, jobs_of, resources_of, work_of, written_by
from search.training.engine import engine_of

logger = logging.getLogger(__name__)


def train_baselines(
    config: ExperimentConfig,
    ppo: PPOConfig,
    archive: Archive,
    planned: Sequence[Planned],
    on_progress: Done,
    note: Say = logger.warning,
) -> None:
    """Trains baselines for one member's horizon each, fits trees, and records those that succeed.

    Training restarts if its process dies or an environment raises. A baseline that fails permanently is
    recorded as an event and left out; the front is reported without it.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.
        archive: Archive that the baselines are added to.
        planned: Baselines to train, only of kinds that the network and the environment allow.
        on_progress: Called with the number of finished baselines and the total number.
        note: Callback for messages about what is being waited for (see `run_tasks`).
    """
    started = time.monotonic()
    packs = engine_of(config, ppo).name == "packed"
    jobs = dict(enumerate(jobs_of(config, ppo, planned)))
    tasks = {
        number: Task(
            "the training of a baseline",
            *work_of(config, archive, job),
            resources_of(config, job),
            written_by,
        )
        for number, job in jobs.items()
    }
    done, total = 0, sum(len(job.planned) for job in jobs.values())
    for number, found in run_tasks(tasks, archive.folder, note):
        _take(archive, jobs[number], found, time.monotonic() - started, packs=packs)
        done += len(jobs[number].planned)
        on_progress(done, total)


def _take(archive: Archive, job: Job, results: Any, wall_time: float, *, packs: bool) -> None:
    if isinstance(results, RunError):
        for plan in job.planned:
            _note_failure(archive, plan, str(results))
        return
    # If RLlib trains the members, training in a pack isn't quite the same.
    remark = "; trained in a pack" if job.packed and not packs else ""
    for plan, result in zip(job.planned, results, strict=True):
        snapshot = result.get("snapshot")
        if snapshot is None or snapshot["status"] == "failed":
            _note_failure(archive, plan, result.get("failure") or "weights are not finite")
            continue
        # The size of a tree is known only after it is fitted.
        name = f"tree-{snapshot['nonzero_params']}" if plan.kind == "tree" else plan.name
        if name in archive.baselines():
            why = f"{plan.name}: the dense policy's answers fill no more than {name}."
            archive.add_event(LEFT_OUT, baseline=plan.name, why=why)
            remove(archive.folder / Path(snapshot["checkpoint"]))
            continue
        checkpoint = f"policies/{name}"
        take_place(archive.folder / snapshot["checkpoint"], archive.folder / checkpoint)
        if snapshot["state"]:
            remove(archive.folder / Path(snapshot["state"]))
        archive.add_baseline(
            Baseline(
                name=name,
                description=result.get("description", plan.description)
                + result.get("note", "")
                + remark,
                env_steps=int(result["env_steps"]),
                wall_time=wall_time,
                search_return=snapshot["return_mean"],
                sparsity=snapshot.get("sparsity", math.nan),
                nonzero_params=snapshot["nonzero_params"],
                total_params=snapshot["total_params"],
                checkpoint=checkpoint,
                kind=plan.kind,
                level=plan.level,
                unit=result.get("unit", "weights"),
                flash_bytes=result.get("flash_bytes", 0),
            )
        )


def _note_failure(archive: Archive, plan: Planned, error: str) -> None:
    archive.add_event("failure", member=plan.name, segment=0, env_steps=0, error=error)
