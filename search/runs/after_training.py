"""Runs the phases of a search that follow its members' training: evaluation, baselines and shifts."""

from __future__ import annotations

import math

import pandas as pd
from ray.rllib.algorithms.ppo import PPOConfig

from search.config.experiment import ExperimentConfig
from search.evaluation.episode import film_the_pick
from search.evaluation.held_out import evaluate_policies, held_out_seeds
from search.evaluation.under_shift import evaluate_shifts
from search.front.aim import aim_of, candidates_for
from search.front.read_results import read_results
from search.front.results import Results
from search.population.baseline_plan import plan_baselines
from search.population.plain_sizes import PlainSizes
from search.population.progress import Display
from search.store.archive import CANDIDATES, LEFT_OUT, Archive
from search.store.deletion import remove_policies
from search.store.folder import read_manifest, update_manifest
from search.training.baseline_training import train_baselines
from search.training.plain_sizes_of import plain_sizes_of


def after_training(
    config: ExperimentConfig, ppo: PPOConfig, archive: Archive, display: Display
) -> None:
    """Runs every phase after the training that isn't done yet.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.
        archive: Archive in the results folder, to which results are added.
        display: Display for progress.

    Raises:
        PrunefrontError: A policy, or its environment, fails.
    """
    _evaluate(config, ppo, archive, display)
    # From here on, the policies on the front are final.
    results = read_results(archive.folder)
    _train_baselines(config, ppo, archive, results.points, display)
    _shift(config, ppo, results, display)
    film_the_pick(results, ppo, display.phase)


def _evaluate(config: ExperimentConfig, ppo: PPOConfig, archive: Archive, display: Display) -> None:
    """Evaluates the candidates that haven't been evaluated yet, then deletes all other policies."""
    snapshots = archive.available()
    aim = aim_of(config.goal, archive.baselines(), -math.inf)
    again = candidates_for(aim, snapshots, config.evaluation.candidates)
    archive.add_event(CANDIDATES, chosen=[s.snapshot_id for s in again])
    dense = archive.baselines()["dense"]
    policies = [(dense.name, dense.checkpoint), *((s.snapshot_id, s.checkpoint) for s in again)]
    display.phase(f"evaluating {len(policies)} policies on fresh seeds")
    evaluate_policies(config, ppo, archive, policies, display.evaluating, note=display.note)
    evaluated = {evaluation.snapshot_id for evaluation in archive.evaluations()}
    remove_policies(archive.folder, snapshots, evaluated)


def _train_baselines(
    config: ExperimentConfig,
    ppo: PPOConfig,
    archive: Archive,
    points: pd.DataFrame,
    display: Display,
) -> None:
    """Trains and evaluates the baselines for comparison with the front, except those already done."""
    plain = plain_sizes_of(ppo)
    _note_left_out(config, archive, plain, display)
    planned = plan_baselines(config, points, archive.baselines(), plain, archive.left_out())
    if planned:
        display.phase(f"training {len(planned)} baselines for {config.horizon:,} env steps at most")
        train_baselines(config, ppo, archive, planned, display.training_baselines, display.note)
    trained = {name: b for name, b in archive.baselines().items() if b.kind}
    policies = [(name, b.checkpoint) for name, b in trained.items()]
    evaluate_policies(config, ppo, archive, policies, display.evaluating, note=display.note)
    spent = read_manifest(archive.folder)["env_steps"]
    spent["baselines"] += sum(b.env_steps for b in trained.values())
    update_manifest(archive.folder, env_steps=spent)


def _note_left_out(
    config: ExperimentConfig, archive: Archive, plain: PlainSizes, display: Display
) -> None:
    """Records and reports, only once, which baselines the environment or the network doesn't allow."""
    told = archive.left_out()
    for kind, why in plain.refused.items():
        if getattr(config.baselines, kind) and kind not in told:
            archive.add_event(LEFT_OUT, baseline=kind, why=why)
            display.note(f"no baseline: {why}")


def _shift(config: ExperimentConfig, ppo: PPOConfig, results: Results, display: Display) -> None:
    """Evaluates the front under the configuration's shifts."""
    shifts = config.evaluation.shifts
    if not shifts or results.points.empty:
        return
    display.phase(f"evaluating the front under {len(shifts)} shifts")
    seeds = held_out_seeds(config)["report"][: config.evaluation.shift_episodes]
    evaluate_shifts(results, ppo, shifts, seeds, display.evaluating, note=display.note)
