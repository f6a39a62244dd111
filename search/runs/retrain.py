"""Runs the recipe check on Ray: trains the replays, evaluates the results, rebuilds the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

from search.config.experiment import ExperimentConfig
from search.evaluation.held_out import evaluate_policies
from search.front.lineage import plans_of
from search.front.read_results import read_results
from search.front.results import Results
from search.population.progress import Display
from search.population.replays import Replay, Replays, chosen_points, plan_replays
from search.report import write_report_of
from search.runs.preparation import Prepared, prepare_again
from search.runs.session import session, starting_ray
from search.store.archive import Archive
from search.store.continued import load_config_of
from search.store.folder import RETRAIN, provenance, read_manifest
from search.store.writer import only_writer
from search.training.initial import kept_initial
from search.training.tune_run import slots_of, train

# An interval that no iteration reaches, so that replays are evaluated only at the ends of their stages.
NEVER = 10**9


def run_retrain(
    folder: Path,
    points: Iterable[str],
    seeds: int,
    *,
    command: Sequence[str],
    display: Display,
    address: str | None = None,
) -> Results:
    """Replays the recipes of front points on fresh seeds; finished replays aren't repeated.

    Args:
        folder: The results folder of a search with a front.
        points: Points of the front, in the form that `chosen_points` accepts.
        seeds: Number of replays per point, ≥ 1.
        command: The command line, for the manifest.
        display: Display for progress.
        address: Address of a Ray cluster; None to start one on this machine.

    Returns:
        The search's results with the recipe check, as shown in the report.

    Raises:
        PrunefrontError: An argument is wrong, or the run failed; finished work is kept.
        KeyboardInterrupt: The run was interrupted; finished work is kept.
    """
    config = load_config_of(folder)
    results = read_results(folder)
    chosen = chosen_points(results.confirmed, points)
    prepared = prepare_again(config, folder)
    if address is None:
        prepared.refuse_too_large()
    with only_writer(folder):
        place = folder / RETRAIN
        place.mkdir(exist_ok=True)
        archive = Archive(place, folder)
        plans = plans_of(Archive(folder).events())
        replays = plan_replays(archive, results.records, plans, chosen, seeds)
        by_id = {s.snapshot_id: s for s in results.records}
        coordinator = Replays(config, archive, replays, by_id, results.confirmed.scale.floor)

        def ended(status: str, seconds: float) -> dict[str, Any]:
            return _noted(folder, command, coordinator.spent, seconds)

        display.phase(starting_ray(address))
        with session(folder, address, display.note, ended):
            _train(config, prepared, archive, coordinator, display)
            _evaluate(config, prepared.ppo, archive, coordinator, display)
        display.phase("writing the report")
        return write_report_of(read_results(folder))


def _train(
    config: ExperimentConfig,
    prepared: Prepared,
    archive: Archive,
    coordinator: Replays,
    display: Display,
) -> None:
    if coordinator.finished:
        return
    engine_config = _for_replays(config, coordinator.replays)
    engine = prepared.engine
    slots = slots_of(engine_config, engine)
    display.phase(
        f"replaying {len({r.point for r in coordinator.replays})} recipes, "
        f"{len(coordinator.replays)} trainings, {engine.describe(engine_config, slots)}"
    )
    # The initial state is that of the search, whose folder contains the recipe check's.
    initial = kept_initial(config, archive.folder.parent)
    ppo = prepared.ppo
    train(
        engine_config, ppo, archive.folder, coordinator, engine, slots, display,
        initial=initial, timed_form=prepared.timed_form,
    )  # fmt: skip


def _for_replays(config: ExperimentConfig, replays: Sequence[Replay]) -> ExperimentConfig:
    """Returns the experiment with as many members as replays, and with their evaluation interval."""
    waits = any(
        stage.pruning["schedule"] == "plateau" for replay in replays for stage in replay.stages
    )
    population = config.population.model_copy(update={"members": len(replays)})
    changes = {} if waits else {"interval": NEVER}
    evaluation = config.evaluation.model_copy(update=changes)
    return config.model_copy(update={"population": population, "evaluation": evaluation})


def _evaluate(
    config: ExperimentConfig,
    ppo: PPOConfig,
    archive: Archive,
    coordinator: Replays,
    display: Display,
) -> None:
    """Evaluates replays on the seeds of the front's figures, unseen by replays, for paired results."""
    policies = [(s.snapshot_id, s.checkpoint) for s in coordinator.done.values()]
    display.phase(f"evaluating {len(policies)} retrained policies on fresh seeds")
    evaluate_policies(config, ppo, archive, policies, display.evaluating, ("report",), display.note)


def _noted(folder: Path, command: Sequence[str], env_steps: int, seconds: float) -> dict[str, Any]:
    """Returns the manifest's entry for this check and the earlier ones."""
    run = provenance(command)
    noted = {
        **{key: run[key] for key in ("command", "started", "versions", "git_revision")},
        "env_steps": env_steps,
        "wall_time": seconds,
    }
    return {"retrain": [*read_manifest(folder).get("retrain", []), noted]}
