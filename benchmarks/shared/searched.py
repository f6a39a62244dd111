"""Runs a whole search in this process, without Ray's cluster; fresh episodes confirm its front."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.in_process import settings_of, train
from rllib_ext.rl.network import network_of
from search.config.experiment import ExperimentConfig
from search.config.goal import GoalSettings
from search.config.seeds import draw
from search.evaluation.held_out import (
    add_evaluations,
    add_untrained,
    constant_baseline,
    held_out_seeds,
    policies_episodes,
    random_baseline,
)
from search.front.aim import aim_of, candidates_for
from search.front.confirmed_front import Front, confirm
from search.population.coordinator import Coordinator
from search.population.strategies import open_study
from search.store.archive import Archive
from search.store.folder import INITIAL
from search.training.initial import initial_of, kept_initial
from search.training.ppo_config import build_ppo

# Columns of `Searched.row`.
COLUMNS = (
    "over_decades", "over_sparsity", "points", "random", "constant", "dense", "env_steps",
    "evaluation_env_steps", "seconds", "front",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Searched:
    """Results of a search.

    Attributes:
        front: Front of the re-evaluated policies.
        spent: Env steps by purpose.
        seconds: CPU seconds of this process.
    """

    front: Front
    spent: dict[str, int]
    seconds: float

    def row(self) -> dict[str, Any]:
        """Returns the figures by `COLUMNS`; "front": return, sparsity and size of each point."""
        baselines = self.front.baselines
        returns = dict(zip(baselines["name"], baselines["return_mean"], strict=True))
        points = self.front.table[["return_mean", "sparsity", "total_params"]].to_numpy(float)
        return {
            "over_decades": self.front.hypervolumes[1],
            "over_sparsity": self.front.hypervolumes[0],
            "points": len(self.front.table),
            **{name: returns[name] for name in ("random", "constant", "dense")},
            "env_steps": self.spent["training"],
            "evaluation_env_steps": self.spent["evaluation"],
            "seconds": self.seconds,
            "front": ";".join(" ".join(f"{x:.6g}" for x in point) for point in points),
        }


def search_here(
    config: ExperimentConfig, folder: Path, size: int, goal: GoalSettings | None = None
) -> Searched:
    """Searches, one pack at a time, and evaluates candidates and baselines on fresh seeds.

    Args:
        config: Configuration of the search; its engine is packed. Runs code from `init_checkpoint` if
            one is given.
        folder: Destination folder of the records; replaced if it exists. Policies are not kept.
        size: Largest number of members in a pack.
        goal: Goal that the front's pick must meet; None means the goal of the search.
    """
    started = time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ppo, archive = build_ppo(config), Archive(folder)
    if initial := initial_of(config, ppo):
        initial.save(folder / INITIAL)
    seeds = held_out_seeds(config)
    choosing = draw(config.seed, "baseline", config.evaluation.selection_episodes)
    add_untrained(archive, "random", *random_baseline(ppo, seeds))
    add_untrained(archive, "constant", *constant_baseline(ppo, choosing, seeds))
    floor = max(b.search_return for b in archive.baselines().values())
    weights = network_of(ppo).total
    coordinator = Coordinator(config, archive, open_study(config, folder), floor, weights=weights)
    settings = settings_of(folder, ppo, config.evaluation.interval, kept_initial(config, folder))
    train(coordinator, settings, size)
    aim = aim_of(config.goal, archive.baselines(), floor)
    chosen = candidates_for(aim, archive.available(), config.evaluation.candidates)
    policies = {s.snapshot_id: s.checkpoint for s in chosen}
    policies["dense"] = archive.baselines()["dense"].checkpoint
    played = policies_episodes(
        ppo, [folder / checkpoint for checkpoint in policies.values()], seeds
    )
    for name, episodes in zip(policies, played, strict=True):
        add_evaluations(archive, name, episodes)
    front = confirm(
        archive.snapshots(),
        archive.evaluations(),
        archive.baselines(),
        np.random.default_rng(config.seed),
        goal=goal or config.goal,
    )
    for kind in ("states", "policies"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    return Searched(front, dict(coordinator.spent), time.process_time() - started)
