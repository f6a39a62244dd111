"""Prunes a trained PPO checkpoint at given levels and writes a results folder."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.pruned import (
    env_steps_of,
    gather_statistics,
    in_one_process,
    is_finite,
    load_for_pruning,
    prune_now,
    report_of,
)
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.sensitivity import measure_sensitivity
from rllib_ext.policy.store import policy_of, save_policy
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import READS
from rllib_ext.pruning.errors import PrunefrontError, RunError
from rllib_ext.rl.callback import masks_of
from search.config.seeds import draw
from search.evaluation.episode import film_the_pick
from search.evaluation.front_latency import note_latencies
from search.evaluation.held_out import (
    PURPOSES,
    Seeds,
    add_evaluations,
    add_untrained,
    constant_baseline,
    policies_episodes,
    random_baseline,
)
from search.front.read_results import read_results
from search.front.results import Results
from search.report import write_report_of
from search.runs.prune_settings import PruneSettings
from search.runs.session import recorded
from search.store.archive import Archive, Baseline, Snapshot, Status
from search.store.began_with import BEGAN_WITH
from search.store.files import write_text
from search.store.folder import (
    CONFIG,
    PRUNED,
    place_of,
    provenance,
    refuse_taken,
    update_manifest,
)
from search.store.writer import only_writer_of_new

# Maximum number of episodes for the search score; the final figures use episodes of their own.
SCORE_EPISODES = 10
COUNTS = ("sparsity", "critic_sparsity", "nonzero_params", "total_params", "layers")
DENSE = "dense"
Phase = Callable[[str], None]


def run_prune(
    settings: PruneSettings,
    ppo: PPOConfig,
    output: Path | None,
    *,
    command: Sequence[str],
    phase: Phase,
) -> Results:
    """Prunes a checkpoint at every level, evaluates, and writes a results folder.

    Needs a connection to Ray. Nothing is written before the checkpoint has been loaded.

    Args:
        settings: How to prune.
        ppo: PPO configuration of the checkpoint.
        output: The results folder; None for a new one under results/.
        command: The command line, for the manifest.
        phase: Callback for the title of each phase.

    Returns:
        The results, as shown in the report.

    Raises:
        PrunefrontError: A setting is wrong, or a level failed; earlier levels stay readable.
        KeyboardInterrupt: The run was interrupted; earlier levels stay readable.
    """
    ppo = in_one_process(ppo, seed=draw(settings.seed, "training", 1)[0], lr=settings.lr)
    phase(f"loading {settings.checkpoint}")
    dense = load_for_pruning(settings.checkpoint, ppo, settings.nothing)
    try:
        folder = place_of(settings.name, output)
        with only_writer_of_new(folder):
            refuse_taken(folder)
            return _Run(settings, ppo, folder, phase).whole(dense, command)
    finally:
        dense.stop()


class _Run:
    """A run that prunes a checkpoint and writes its results folder."""

    def __init__(self, settings: PruneSettings, ppo: PPOConfig, folder: Path, phase: Phase) -> None:
        self.folder = folder
        self._settings, self._ppo, self._phase = settings, ppo, phase
        self._archive = Archive(folder)
        self._started = time.monotonic()
        self._spent = {"training": 0, "baselines": 0, "evaluation": 0}
        self._evaluator = Evaluator(env_maker(ppo))
        episodes = settings.episodes
        self._seeds: Seeds = {p: draw(settings.seed, p, episodes) for p in PURPOSES}
        self._score_seeds = draw(settings.seed, "search", min(episodes, SCORE_EPISODES))

    def whole(self, dense: Algorithm, command: Sequence[str]) -> Results:
        """Runs everything from the loaded checkpoint to the report."""
        settings = self._settings
        env = {"env": env_name(self._ppo), "env_config": dict(self._ppo.env_config)}
        plain = json.loads(json.dumps({**env, **settings.to_dict()}, default=str))
        write_text(self.folder / CONFIG, yaml.safe_dump(plain, sort_keys=False, width=100))
        update_manifest(
            self.folder,
            **provenance(command),
            name=settings.name,
            env=env["env"],
            strategy=PRUNED,
            seed=settings.seed,
            members=len(settings.levels()),
            **{BEGAN_WITH: plain},
            status="running",
        )
        with recorded(self.folder, self._ended), contextlib.closing(self._evaluator):
            self._levels(dense)
        results = read_results(self.folder)
        film_the_pick(results, self._ppo, self._phase)
        note_latencies(results)
        return write_report_of(results)

    def _ended(self, status: str, seconds: float) -> dict[str, Any]:
        if status == "interrupted":
            done, total = len(self._archive.snapshots()), len(self._settings.levels())
            self._phase(f"interrupted: {done} of {total} levels are safe in {self.folder}")
        return {"status": status, "env_steps": self._spent, "wall_time": seconds}

    def _levels(self, dense: Algorithm) -> None:
        floor = self._baselines(dense)
        settings = self._settings
        criterion, statistics, damage = settings.criterion, None, {}
        if criterion in READS:
            self._phase(f"gathering {criterion} over {settings.gather} iterations of training")
            statistics = self._trained(dense, criterion, lambda: self._gather(dense))
        if criterion == "sensitivity":
            self._phase("measuring the sensitivity of each layer")
            damage = measure_sensitivity(
                policy_of(dense), self._evaluator, self._score_seeds, returns=False
            ).damage()
        levels = settings.levels(damage)
        for index, (name, pruning) in enumerate(levels.items()):
            self._phase(f"{name} ({index + 1} of {len(levels)})")
            algorithm = load_for_pruning(settings.checkpoint, self._ppo, pruning)
            try:
                prune_now(algorithm, statistics)
                self._level(algorithm, name, index, pruning, floor)
            finally:
                algorithm.stop()

    def _baselines(self, dense: Algorithm) -> float:
        """Measures untrained baselines and the checkpoint; returns the score that levels must exceed."""
        self._phase("measuring a random policy, constant actions and the checkpoint as it is")
        choosing = draw(self._settings.seed, "baseline", self._settings.episodes)
        try:
            self._measure_untrained(choosing)
        except RunError as error:
            self._phase(str(error))
        known = self._archive.baselines().values()
        floor = max((b.search_return for b in known), default=-math.inf)
        scored = self._score(dense)
        counts = self._save(dense, DENSE, scored["return_mean"])
        self._archive.add_baseline(
            Baseline(
                name=DENSE,
                description="the checkpoint as it is",
                env_steps=env_steps_of(dense),
                wall_time=0.0,
                search_return=scored["return_mean"],
                sparsity=counts["sparsity"],
                nonzero_params=counts["nonzero_params"],
                total_params=counts["total_params"],
                checkpoint=f"policies/{DENSE}",
            )
        )
        self._spent["baselines"] = env_steps_of(dense)
        return floor

    def _measure_untrained(self, choosing: Sequence[int]) -> None:
        """Measures a random policy and constant actions; RunError if the environment refuses them."""
        try:
            add_untrained(self._archive, "random", *random_baseline(self._ppo, self._seeds))
            constant = constant_baseline(self._ppo, choosing, self._seeds)
        except Exception as error:
            # An environment is user code and may raise anything.
            raise RunError(
                f"no policy acts at random, or constantly, in {env_name(self._ppo)}: "
                f"{type(error).__name__}: {error}. What refuses illegal actions can show the legal "
                "ones as 'action_mask' in a dict observation. Going on without; retained is unknown"
            ) from error
        add_untrained(self._archive, "constant", *constant)

    def _level(
        self, algorithm: Algorithm, name: str, index: int, pruning: PruningConfig, floor: float
    ) -> None:
        settings = self._settings
        begun, clock = algorithm.iteration, env_steps_of(algorithm)
        objectives: dict[str, float] = {}
        if settings.retrain:
            before = self._evaluator.run(policy_of(algorithm), self._seeds["report"])
            self._spent["evaluation"] += sum(before.lengths)
            objectives["return_before_retraining"] = before.mean
            self._trained(algorithm, name, lambda: self._retrain(algorithm))
        scored = self._score(algorithm)
        counts = self._save(algorithm, name, scored["return_mean"])
        status: Status = "ok" if scored["return_mean"] > floor else "infeasible"
        self._archive.add_snapshot(
            Snapshot(
                snapshot_id=name,
                trial_number=-1,
                member=index,
                segment=0,
                iteration=algorithm.iteration - begun,
                env_steps=env_steps_of(algorithm) - clock,
                wall_time=time.monotonic() - self._started,
                status=status if is_finite(algorithm) else "failed",
                parent="",
                checkpoint=f"policies/{name}",
                state="",
                hyperparameters=settings.hyperparameters(pruning),
                objectives=objectives,
                **scored,
                **counts,
            )
        )

    def _score(self, algorithm: Algorithm) -> dict[str, Any]:
        found = self._evaluator.run(policy_of(algorithm), self._score_seeds)
        self._spent["evaluation"] += sum(found.lengths)
        return {
            "return_mean": found.mean,
            "return_std": found.std,
            "episodes": found.count,
            "seeds": list(found.seeds),
            "returns": list(found.returns),
            "lengths": list(found.lengths),
        }

    def _save(self, algorithm: Algorithm, name: str, score: float) -> dict[str, Any]:
        """Saves the policy, then evaluates the saved one; returns its counts."""
        report = report_of(algorithm)
        counts = {key: report[key] for key in COUNTS}
        folder = self.folder / "policies" / name
        metadata = {
            "snapshot_id": name,
            "env": env_name(self._ppo),
            "env_steps": env_steps_of(algorithm),
            "search_return": score,
            **counts,
        }
        save_policy(algorithm, masks_of(algorithm), folder, metadata)
        (episodes,) = policies_episodes(self._ppo, [folder], self._seeds)
        self._spent["evaluation"] += sum(sum(found.lengths) for found in episodes.values())
        add_evaluations(self._archive, name, episodes)
        return counts

    def _gather(self, dense: Algorithm) -> Any:
        return gather_statistics(dense, self._settings.gather)

    def _retrain(self, algorithm: Algorithm) -> None:
        for _ in range(self._settings.retrain):
            algorithm.train()

    def _trained(self, algorithm: Algorithm, name: str, train: Callable[[], Any]) -> Any:
        """Trains and counts the env steps; if that fails, the error says which levels are safe."""
        clock = env_steps_of(algorithm)
        try:
            return train()
        except (PrunefrontError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise RunError(
                f"{name}: training failed: {error}. Levels before it are safe in {self.folder}. A lower "
                "learning rate (--lr) often helps."
            ) from error
        finally:
            self._spent["training"] += env_steps_of(algorithm) - clock
