"""Baselines that are trained once the front is known: as Ray tasks, packed where they can be."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import PlacementGroupFactory

from rllib_ext.base.aside import take_place
from rllib_ext.member.segment import MEMBERS, Segment, config_of
from rllib_ext.member.trainable import MemberSettings, MemberTrainable
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.trainable import PackTrainable
from rllib_ext.pruning.errors import ConfigError, RunError
from search.cluster.tasks import Task, run_tasks
from search.cluster.waiting import Say
from search.config.experiment import ExperimentConfig
from search.evaluation.held_out import Done
from search.population.baseline_plan import Planned
from search.store.archive import Archive, Baseline
from search.store.deletion import remove
from search.training.engine import PackedEngine, engine_of
from search.training.initial import kept_initial
from search.training.ppo_config import member_resources
from search.training.small_dense import small_dense

logger = logging.getLogger(__name__)

# Members of a pack of baselines, unless the configuration says how many.
PACK = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """Baselines that are trained together.

    Attributes:
        planned: Those; one alone where they can't be packed.
        ppo: What they share.
        packed: Whether a pack trains them; otherwise RLlib does.
    """

    planned: tuple[Planned, ...]
    ppo: PPOConfig
    packed: bool


def train_baselines(
    config: ExperimentConfig,
    ppo: PPOConfig,
    archive: Archive,
    planned: Sequence[Planned],
    on_progress: Done,
    note: Say = logger.warning,
) -> None:
    """Trains baselines for one member's horizon each, and records those that are whole.

    Training begins anew where its process dies, or an environment raises. A baseline that fails for good
    is noted in the events and left out: the front stands without it.

    Args:
        config: The experiment.
        ppo: What members share.
        archive: Takes the baselines.
        planned: What to train.
        on_progress: Called with baselines done and baselines in all.
        note: Told what is waited for (see `run_tasks`).
    """
    started = time.monotonic()
    packs = engine_of(config, ppo).name == "packed"
    jobs = dict(enumerate(_jobs(config, ppo, archive, planned)))
    tasks: dict[int, Task] = {}
    for number, job in jobs.items():
        # Another network cannot start from the checkpoint that members start from.
        fresh = any(p.kind == "small_dense" for p in job.planned)
        settings = MemberSettings(
            folder=str(archive.folder),
            ppo_config=job.ppo,
            evaluation_interval=config.evaluation.interval,
            initial="" if fresh else kept_initial(config, archive.folder),
        )
        tasks[number] = Task(
            "the training of a baseline",
            train_to_end,
            (settings, [p.segment for p in job.planned], job.packed),
            resources_of(config, job),
            _written,
        )
    done, total = 0, sum(len(job.planned) for job in jobs.values())
    for number, found in run_tasks(tasks, archive.folder, note):
        _take(archive, jobs[number], found, time.monotonic() - started, packs=packs)
        done += len(jobs[number].planned)
        on_progress(done, total)


def train_to_end(
    settings: MemberSettings, segments: Sequence[Segment], packed: bool
) -> list[dict[str, Any]]:
    """Trains segments to their end in this process.

    Args:
        settings: What all of them train with.
        segments: What to train; one, where they are not packed.
        packed: Whether a pack trains them; otherwise RLlib does.

    Returns:
        The last result of each, in their order; "snapshot" holds a dictionary, or is missing where the
        segment failed.
    """
    kind: Any = PackTrainable if packed else MemberTrainable
    # Without Tune's own initialisation, which makes folders for its loggers.
    trainable = kind.__new__(kind)
    trainable.setup(config_of(segments) if packed else segments[0].to_dict(), settings)
    last: dict[int, dict[str, Any]] = {}
    try:
        over = False
        while not over:
            result = trainable.step()
            over = result["segment_done"]
            listed = json.loads(result[MEMBERS]) if packed else [_unpacked(result)]
            last |= {member["member"]: member for member in listed}
    finally:
        trainable.cleanup()
    return [last[segment.member] for segment in segments]


def _unpacked(result: dict[str, Any]) -> dict[str, Any]:
    if "snapshot" not in result:
        return result
    return {**result, "snapshot": json.loads(result["snapshot"])}


def _jobs(
    config: ExperimentConfig, ppo: PPOConfig, archive: Archive, planned: Sequence[Planned]
) -> list[Job]:
    jobs: list[Job] = []
    alike = [p for p in planned if p.kind != "small_dense"]
    packed = _is_packable(ppo)
    size = (config.resources.members_per_pack or PACK) if packed else 1
    for start in range(0, len(alike), size):
        jobs.append(Job(tuple(alike[start : start + size]), ppo, packed))
    for plan in planned:
        if plan.kind == "small_dense":
            try:
                small = small_dense(ppo, plan.weights)
            except ConfigError as error:
                _note_failure(archive, plan, str(error))
            else:
                jobs.append(Job((plan,), small, _is_packable(small)))
    return jobs


def _is_packable(ppo: PPOConfig) -> bool:
    try:
        blueprint_of(ppo)
    except ConfigError:
        return False
    return True


def resources_of(config: ExperimentConfig, job: Job) -> PlacementGroupFactory:
    """What a job takes of the cluster: the same as members, or packs, of the search."""
    if not job.packed:
        return member_resources(job.ppo)
    cpus, gpus = config.resources.cpus_per_member, float(job.ppo.num_gpus_per_learner)
    return PackedEngine(cpus, gpus).resources


def _take(archive: Archive, job: Job, results: Any, wall_time: float, *, packs: bool) -> None:
    if isinstance(results, RunError):
        for plan in job.planned:
            _note_failure(archive, plan, str(results))
        return
    # Where members are RLlib's to train, a pack isn't quite the same.
    remark = "; trained in a pack" if job.packed and not packs else ""
    for plan, result in zip(job.planned, results, strict=True):
        snapshot = result.get("snapshot")
        if snapshot is None or snapshot["status"] == "failed":
            _note_failure(archive, plan, result.get("failure") or "weights are not finite")
            continue
        checkpoint = f"policies/{plan.name}"
        take_place(archive.folder / snapshot["checkpoint"], archive.folder / checkpoint)
        remove(archive.folder / Path(snapshot["state"]))
        archive.add_baseline(
            Baseline(
                name=plan.name,
                description=plan.description + remark,
                env_steps=int(result["env_steps"]),
                wall_time=wall_time,
                search_return=snapshot["return_mean"],
                sparsity=snapshot["sparsity"],
                nonzero_params=snapshot["nonzero_params"],
                total_params=snapshot["total_params"],
                checkpoint=checkpoint,
                kind=plan.kind,
                level=plan.level,
            )
        )


def _written(results: Sequence[dict[str, Any]]) -> list[str]:
    """What trained baselines say to be on disk."""
    snapshots = [result["snapshot"] for result in results if result.get("snapshot")]
    return [snapshot[kind] for snapshot in snapshots for kind in ("checkpoint", "state")]


def _note_failure(archive: Archive, plan: Planned, error: str) -> None:
    archive.add_event("failure", member=plan.name, segment=0, env_steps=0, error=error)
