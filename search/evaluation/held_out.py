"""Evaluates policies on held-out seeds, as Ray tasks spread over the cluster."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Episodes
from rllib_ext.evaluation.reference import best_constant_episodes, random_policy_episodes
from rllib_ext.packed.together import evaluate_together
from rllib_ext.policy.store import load_policy, note_size
from rllib_ext.pruning.errors import RunError
from search.cluster.tasks import Task, run_tasks, whole
from search.cluster.waiting import Say
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.evaluation.groups import cluster_cpus, grouped, named
from search.store.archive import Archive, Baseline, Evaluation, Purpose

logger = logging.getLogger(__name__)

# Advice for environments that raise an error for illegal actions.
LEGAL = (
    "Where it refuses illegal actions, show the legal ones as 'action_mask' in a dict observation, or "
    "leave the random policy and constant actions out: baselines.untrained=false."
)
PURPOSES: tuple[Purpose, ...] = ("selection", "report")
Done = Callable[[int, int], None]


def held_out_seeds(config: ExperimentConfig) -> dict[Purpose, tuple[int, ...]]:
    """Returns the seeds of the selection and of the report episodes, by purpose."""
    counts = {
        "selection": config.evaluation.selection_episodes,
        "report": config.evaluation.report_episodes,
    }
    return {purpose: draw(config.seed, purpose, counts[purpose]) for purpose in PURPOSES}


def evaluate_untrained(
    config: ExperimentConfig, ppo: PPOConfig, archive: Archive, note: Say = logger.warning
) -> float:
    """Evaluates a random policy and the best constant action, unless the archive has them.

    Args:
        config: The experiment.
        ppo: PPO configuration that defines the environment.
        archive: Archive that the episodes are added to.
        note: Callback for messages about what is being waited for (see `run_tasks`).

    Returns:
        Mean return that a policy must exceed to be feasible: the better of the two on the selection
        seeds, or −∞ if the configuration leaves them out.

    Raises:
        RunError: The environment fails.
    """
    if not config.baselines.untrained:
        return -math.inf
    seeds = held_out_seeds(config)
    choosing = draw(config.seed, "baseline", config.evaluation.selection_episodes)
    known = archive.baselines()
    tasks = {
        "random": Task("the baseline 'random'", random_baseline, (ppo, seeds)),
        "constant": Task("the baseline 'constant'", constant_baseline, (ppo, choosing, seeds)),
    }
    tasks = {name: task for name, task in tasks.items() if name not in known}
    played = dict(run_tasks(tasks, archive.folder, note))
    for name in tasks:
        try:
            found = whole(played[name])
        except RunError as error:
            raise RunError(f"{error} {LEGAL}") from error
        add_untrained(archive, name, *found)
    return max(archive.baselines()[name].search_return for name in ("random", "constant"))


def evaluate_policies(
    config: ExperimentConfig,
    ppo: PPOConfig,
    archive: Archive,
    policies: Iterable[tuple[str, str]],
    on_progress: Done,
    purposes: Sequence[Purpose] = PURPOSES,
    note: Say = logger.warning,
) -> None:
    """Evaluates saved policies on held-out seeds, unless the archive has them.

    Args:
        config: The experiment.
        ppo: PPO configuration that defines the environment.
        archive: Archive that the episodes of each policy are added to as soon as they are played.
        policies: Pairs of a policy's name and its folder, relative to the results folder.
        on_progress: Called with the number of policies done and the total number.
        purposes: Purposes whose seeds are played.
        note: Callback for messages about what is being waited for (see `run_tasks`).

    Raises:
        RunError: A policy, or its environment, fails.
    """
    seeds = held_out_seeds(config)
    known = {(e.snapshot_id, e.purpose) for e in archive.evaluations()}
    # Policies grouped by the purposes that they lack; those of a group play the same episodes.
    wanted: dict[tuple[Purpose, ...], list[tuple[str, str]]] = {}
    for name, checkpoint in policies:
        missing = tuple(p for p in purposes if (name, p) not in known)
        if missing:
            wanted.setdefault(missing, []).append((name, checkpoint))
    tasks: dict[tuple[str, ...], Task] = {}
    for missing, those in wanted.items():
        for group in grouped(those, cluster_cpus()):
            names = tuple(name for name, _ in group)
            folders = [archive.folder / checkpoint for _, checkpoint in group]
            arguments = ppo, folders, {p: seeds[p] for p in missing}
            tasks[names] = Task(named(names), policies_episodes, arguments)
    done, total = 0, sum(map(len, tasks))
    for names, found in run_tasks(tasks, archive.folder, note):
        for name, episodes in zip(names, whole(found), strict=True):
            add_evaluations(archive, name, episodes)
            done += 1
            on_progress(done, total)


def add_untrained(
    archive: Archive, name: str, description: str, episodes: dict[Purpose, Episodes]
) -> None:
    """Records a baseline that was never trained, and its episodes."""
    add_evaluations(archive, name, episodes)
    archive.add_baseline(
        Baseline(
            name=name,
            description=description,
            env_steps=0,
            wall_time=0.0,
            search_return=episodes["selection"].mean,
        )
    )


def add_evaluations(archive: Archive, name: str, episodes: dict[Purpose, Episodes]) -> None:
    """Records the episodes of a policy, named by its snapshot's id or its baseline's name."""
    for purpose, found in episodes.items():
        archive.add_evaluation(
            Evaluation(
                snapshot_id=name,
                purpose=purpose,
                seeds=list(found.seeds),
                returns=list(found.returns),
                lengths=list(found.lengths),
            )
        )


Seeds = dict[Purpose, tuple[int, ...]]


def random_baseline(ppo: PPOConfig, seeds: Seeds) -> tuple[str, dict[Purpose, Episodes]]:
    """Returns the description and the episodes of a policy that acts at random."""
    return "acts at random", _apart(random_policy_episodes(ppo, _joined(seeds)), seeds)


def constant_baseline(
    ppo: PPOConfig, choosing: Sequence[int], seeds: Seeds
) -> tuple[str, dict[Purpose, Episodes]]:
    """Returns the description and the episodes of the best constant action, chosen on other seeds."""
    action, episodes = best_constant_episodes(ppo, choosing, _joined(seeds))
    found = _apart(episodes, seeds)
    return f"always takes action {action}", found


def policies_episodes(
    ppo: PPOConfig, folders: Sequence[Path], seeds: Seeds
) -> list[dict[Purpose, Episodes]]:
    """Returns the episodes of saved policies; records each policy's shrunk size in its metadata."""
    torch.set_num_threads(1)
    policies = [load_policy(folder) for folder in folders]
    for folder in folders:
        note_size(folder)
    found = evaluate_together(policies, env_maker(ppo), _joined(seeds))
    return [_apart(episodes, seeds) for episodes in found]


def _joined(seeds: Seeds) -> list[int]:
    """Joins the seeds of all purposes: many episodes at once take little longer than one."""
    return [seed for own in seeds.values() for seed in own]


def _apart(episodes: Episodes, seeds: Seeds) -> dict[Purpose, Episodes]:
    parts = episodes.split(len(own) for own in seeds.values())
    return dict(zip(seeds, parts, strict=True))
