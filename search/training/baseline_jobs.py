"""Groups baselines into training jobs, with each job's resources, function and arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import PlacementGroupFactory

from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.population.baseline_plan import Planned
from search.store.archive import Archive
from search.training.engine import PackedEngine
from search.training.initial import kept_initial
from search.training.lesson import lesson_of
from search.training.linear import linear_ppo, train_linear
from search.training.ppo_config import member_resources
from search.training.small_dense import small_dense
from search.training.to_end import train_to_end
from search.training.tree_policy import fit_tree_policy

# Baselines per pack, unless the configuration sets the number of members per pack.
PACK = 8
# Kinds whose network differs from the members', so they can't start from the members' checkpoint.
OTHERS = ("small_dense", "linear", "tree")
_ONE_CPU = PlacementGroupFactory([{"CPU": 1.0}])


@dataclasses.dataclass(frozen=True)
class Job:
    """A group of baselines that are trained together.

    Attributes:
        planned: The baselines; a single one if they can't be packed.
        ppo: PPO configuration shared by these baselines.
        packed: Whether a pack trains them; otherwise RLlib does.
        narrow: PPO configuration of each baseline's own, narrower network in the pack; empty if all have
            the network of `ppo`.
    """

    planned: tuple[Planned, ...]
    ppo: PPOConfig
    packed: bool
    narrow: tuple[PPOConfig, ...] = ()


def jobs_of(config: ExperimentConfig, ppo: PPOConfig, planned: Sequence[Planned]) -> list[Job]:
    """Divides baselines into jobs.

    Args:
        config: The experiment; sets the number of members per pack.
        ppo: PPO configuration shared by all members.
        planned: Baselines to train.
    """
    size = config.resources.members_per_pack or PACK
    alike = [plan for plan in planned if plan.kind not in OTHERS]
    packed = _is_packable(ppo)
    jobs = [Job(group, ppo, packed) for group in _grouped(alike, size if packed else 1)]
    jobs += _narrow_jobs(ppo, [plan for plan in planned if plan.kind == "small_dense"], size)
    for plan in planned:
        if plan.kind == "linear":
            linear = linear_ppo(ppo)
            jobs.append(Job((plan,), linear, _is_packable(linear)))
        elif plan.kind == "tree":
            jobs.append(Job((plan,), ppo, packed=False))
    return jobs


def _narrow_jobs(ppo: PPOConfig, planned: Sequence[Planned], size: int) -> list[Job]:
    """Groups small dense networks by size, because all networks of a pack are as wide as its widest."""
    jobs = []
    by_size = sorted(planned, key=lambda plan: plan.weights)
    for group in _grouped(by_size, size):
        own = tuple(small_dense(ppo, plan.weights) for plan in group)
        if len(group) > 1 and _is_packable(own[-1]):
            jobs.append(Job(group, own[-1], True, own))
        else:
            jobs += [Job((p,), one, _is_packable(one)) for p, one in zip(group, own, strict=True)]
    return jobs


def _grouped(planned: Sequence[Planned], size: int) -> list[tuple[Planned, ...]]:
    return [tuple(planned[i : i + size]) for i in range(0, len(planned), size)]


def _is_packable(ppo: PPOConfig) -> bool:
    try:
        blueprint_of(ppo)
    except ConfigError:
        return False
    return True


def resources_of(config: ExperimentConfig, job: Job) -> PlacementGroupFactory:
    """Returns a job's resources: those of the search's members or packs, or one CPU for a tree."""
    if any(plan.kind == "tree" for plan in job.planned):
        return _ONE_CPU
    if not job.packed:
        return member_resources(job.ppo)
    cpus, gpus = config.resources.cpus_per_member, float(job.ppo.num_gpus_per_learner)
    return PackedEngine(cpus, gpus).resources


def work_of(
    config: ExperimentConfig, archive: Archive, job: Job
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Returns the function that does a job in another process, and its arguments.

    Args:
        config: The experiment.
        archive: Archive with the results folder and the dense policy.
        job: The job.
    """
    first = job.planned[0]
    settings = MemberSettings(
        folder=str(archive.folder),
        ppo_config=job.ppo,
        evaluation_interval=config.evaluation.interval,
        initial="" if first.kind in OTHERS else kept_initial(config, archive.folder),
    )
    if first.kind in ("linear", "tree"):
        lesson = lesson_of(config, archive.baselines()["dense"].checkpoint, first)
        if first.kind == "tree":
            return fit_tree_policy, (settings, first.segment, lesson)
        return train_linear, (settings, first.segment, job.packed, lesson)
    segments = [plan.segment for plan in job.planned]
    return train_to_end, (settings, segments, job.packed, job.narrow)


def written_by(results: Iterable[dict[str, Any]]) -> list[str]:
    """Returns the folders that trained baselines report as written, relative to the results folder."""
    snapshots = [result["snapshot"] for result in results if result.get("snapshot")]
    found = [snapshot[kind] for snapshot in snapshots for kind in ("checkpoint", "state")]
    return [path for path in found if path]
