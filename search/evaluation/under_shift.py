"""Evaluates policies under shift: over the cluster for a search, in this process for a single policy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.reading import readable
from rllib_ext.envs.env_maker import EnvMaker, env_maker, env_name
from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.evaluation.evaluator import Episodes, Policy
from rllib_ext.evaluation.observation_std import observation_std
from rllib_ext.evaluation.reference import RandomPolicy
from rllib_ext.packed.together import evaluate_together
from rllib_ext.policy.fitting import refuse_other_spaces
from rllib_ext.policy.store import load_pipeline, load_policy
from rllib_ext.pruning.errors import PrunefrontError, ResultsError, RunError
from search.cluster.tasks import Task, run_tasks, whole
from search.cluster.waiting import Say
from search.config.seeds import draw
from search.evaluation.groups import cluster_cpus, grouped, named
from search.evaluation.held_out import Done
from search.front.confirmed_front import episode_figures
from search.front.generalisation import (
    PolicyScore,
    ShiftedEpisodes,
    add_shifted,
    known_episodes,
    labelled,
    read_shifted,
)
from search.front.intervals import resampled_means
from search.front.results import Results
from search.front.retained import scale_of
from search.store.archive import Archive, Evaluation

logger = logging.getLogger(__name__)

# Number of undisturbed episodes for measuring the standard deviation of observations.
MEASURED_EPISODES = 20


def evaluate_shifts(
    results: Results,
    ppo: PPOConfig,
    shifts: Sequence[Shift],
    seeds: Sequence[int],
    on_progress: Done,
    env: str | None = None,
    note: Say = logger.warning,
) -> None:
    """Evaluates the front, the dense baseline and a random policy under shifts, as Ray tasks.

    Episodes already played on the same seeds are not played again. For noise in units of the
    observations' standard deviation, all policies use that of the dense baseline's undisturbed episodes.

    Args:
        results: Results of the search; the episodes of each policy are added to its folder.
        ppo: PPO configuration that defines the environment.
        shifts: Shifts to evaluate under.
        seeds: Seeds of the episodes.
        on_progress: Called with the number of policies done and the total number.
        env: Name of the environment, or None for the search's own; part of the label of the episodes.
        note: Callback for messages about what is being waited for (see `run_tasks`).

    Raises:
        ConfigError: A shift sets a name that the environment doesn't have, or the environment's spaces
            differ from the policies'.
        ResultsError: A policy is no longer on disk, or there is no front.
        RunError: A policy or its environment fails.
    """
    dense, policies = _policies(results)
    _refuse_other_spaces(dense, ppo)
    scale = None
    if any(shift.noise and shift.noise_unit == "std" for shift in shifts):
        scale = observation_scale(ppo, dense, _seed(results))
    for shift in shifts:
        shifted_maker(ppo, shift, scale)
    known = known_episodes(read_shifted(results.folder), seeds)
    # Policies grouped by the shifts that they lack.
    wanted: dict[tuple[Shift, ...], list[str]] = {}
    for name in policies:
        missing = tuple(s for s in shifts if (labelled(s, env), name) not in known)
        if missing:
            wanted.setdefault(missing, []).append(name)
    tasks: dict[tuple[str, ...], Task] = {}
    tried: dict[tuple[str, ...], tuple[Shift, ...]] = {}
    for missing, those in wanted.items():
        for group in map(tuple, grouped(those, cluster_cpus())):
            arguments = ppo, [policies[name] for name in group], missing, seeds, scale
            tasks[group] = Task(f"{named(group)} under shift", shifted_episodes, arguments)
            tried[group] = missing
    done, total = 0, sum(map(len, tasks))
    for group, found in run_tasks(tasks, results.folder, note):
        for name, episodes in zip(group, whole(found), strict=True):
            for shift, own in zip(tried[group], episodes, strict=True):
                add_shifted(results.folder, _record(shift, name, own, env))
            done += 1
            on_progress(done, total)


def shifted_episodes(
    ppo: PPOConfig,
    folders: Sequence[Path | None],
    shifts: Sequence[Shift],
    seeds: Sequence[int],
    scale: Any = None,
) -> list[list[Episodes]]:
    """Returns the episodes of policies: for each policy, a list with one entry per shift.

    Args:
        ppo: PPO configuration that defines the environment.
        folders: Folders of saved policies; None stands for a policy that acts at random.
        shifts: Shifts to evaluate under.
        seeds: Seeds of the episodes.
        scale: Standard deviations, as returned by `observation_scale`; None if no shift needs them.
    """
    torch.set_num_threads(1)
    found: list[list[Episodes]] = [[] for _ in folders]
    for shift in shifts:
        make = shifted_maker(ppo, shift, scale)
        policies = [_policy(folder, make, stochastic=shift.stochastic) for folder in folders]
        for own, episodes in zip(found, evaluate_together(policies, make, seeds), strict=True):
            own.append(episodes)
    return found


def _policy(folder: Path | None, make: EnvMaker, *, stochastic: bool) -> Policy:
    if folder is None:
        env = make()
        env.close()
        return RandomPolicy(env.action_space)
    with readable(folder):
        return load_policy(folder, stochastic=stochastic)


def observation_scale(ppo: PPOConfig, folder: Path, seed: int) -> Any:
    """Returns each observation component's standard deviation in a policy's undisturbed episodes."""
    seeds = draw(seed, "baseline", MEASURED_EPISODES, 2)
    with readable(folder):
        policy = load_policy(folder)
    return observation_std(policy, env_maker(ppo), seeds)


def score_policy(
    folder: Path, ppo: PPOConfig, shift: Shift, seeds: Sequence[int], seed: int
) -> PolicyScore:
    """Evaluates a saved policy under a shift, in this process.

    Args:
        folder: Folder of the policy; `retained` is measured against the dense baseline in its results
            folder, if there is one.
        ppo: PPO configuration that defines the environment.
        shift: Shift to evaluate under.
        seeds: Seeds of the episodes.
        seed: Seed of the episodes that measure the observations' standard deviation, and of the
            bootstrap draws.

    Raises:
        ConfigError: The shift sets a name that the environment doesn't have, or the environment's spaces
            differ from the policy's.
        RunError: The policy or its environment fails.
    """
    _refuse_other_spaces(folder, ppo)
    dense = _dense_beside(folder)
    scale = None
    if shift.noise and shift.noise_unit == "std":
        scale = observation_scale(ppo, dense or folder, seed)
    played: dict[str, Path | None] = {"policy": folder, "random": None}
    if dense is not None:
        played["dense"] = dense
    evaluations = {}
    for name, path in played.items():
        try:
            evaluations[name] = _evaluation(name, _played(name, ppo, path, shift, seeds, scale))
        except RunError:
            # Where illegal actions raise errors, no policy acts at random, and `retained` is unknown.
            if name != "random":
                raise
    rng = np.random.default_rng(seed)
    means = resampled_means(list(evaluations.values()), rng).T
    measured = scale_of(
        evaluations["random"].returns if "random" in evaluations else [],
        evaluations["dense"].returns if dense else [],
    )
    figures = episode_figures(
        "policy", evaluations, dict(zip(evaluations, means, strict=True)), measured
    )
    against = measured.note or (
        f"0 is a random policy ({measured.random:.4g}), 1 the dense baseline ({measured.dense:.4g}), "
        "on the same episodes"
    )
    return PolicyScore(figures, against)


def _played(
    name: str, ppo: PPOConfig, path: Path | None, shift: Shift, seeds: Sequence[int], scale: Any
) -> Episodes:
    try:
        ((episodes,),) = shifted_episodes(ppo, [path], [shift], seeds, scale)
    except PrunefrontError:
        raise
    except Exception as error:
        # Environments may raise exceptions of any type.
        raise RunError(
            f"{name} cannot be evaluated in {env_name(ppo)}: {type(error).__name__}: {error}"
        ) from error
    return episodes


def _refuse_other_spaces(folder: Path, ppo: PPOConfig) -> None:
    with readable(folder):
        pipeline = load_pipeline(folder)
    refuse_other_spaces(pipeline, env_maker(ppo), env_name(ppo))


def _dense_beside(folder: Path) -> Path | None:
    """Returns the dense baseline's folder in the policy's results folder; None if it is not on disk."""
    results = folder.resolve().parent.parent
    if not (results / "baselines.jsonl").is_file():
        return None
    dense = Archive(results).baselines().get("dense")
    path = results / dense.checkpoint if dense is not None and dense.checkpoint else None
    return path if path is not None and path.is_dir() else None


def _policies(results: Results) -> tuple[Path, dict[str, Path | None]]:
    """Returns the dense baseline's folder and all policies' by name; None for the random policy."""
    dense = results.baseline_records.get("dense")
    results.require_front()
    rows = zip(results.points["snapshot_id"], results.points["policy"], strict=True)
    named = {"dense": dense.checkpoint if dense else "", **{str(i): str(p) for i, p in rows}}
    missing = [
        name for name, path in named.items() if not (path and (results.folder / path).is_dir())
    ]
    if missing:
        raise ResultsError(
            f"{results.folder}: policies are no longer on disk: {', '.join(missing)}. Evaluation needs "
            "those of the front and of the dense baseline, under policies/."
        )
    found = {name: results.folder / path for name, path in named.items()}
    # Where an environment refuses illegal actions, there is no random policy.
    at_random = {"random": None} if "random" in results.baseline_records else {}
    return found["dense"], {**found, **at_random}


def _seed(results: Results) -> int:
    seed = results.manifest.get("seed")
    return seed if isinstance(seed, int) and seed >= 0 else 0


def _record(shift: Shift, name: str, episodes: Episodes, env: str | None) -> ShiftedEpisodes:
    return ShiftedEpisodes(
        shift=labelled(shift, env),
        settings={**shift.to_dict(), **({"env": env} if env else {})},
        policy=name,
        seeds=list(episodes.seeds),
        returns=list(episodes.returns),
        lengths=list(episodes.lengths),
    )


def _evaluation(name: str, episodes: Episodes) -> Evaluation:
    return Evaluation(
        snapshot_id=name,
        purpose="report",
        seeds=list(episodes.seeds),
        returns=list(episodes.returns),
        lengths=list(episodes.lengths),
    )
