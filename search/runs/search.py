"""Runs or resumes a search, from its configuration to its report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.ppo import PPOConfig

from search.config.experiment import ExperimentConfig
from search.config.loading import load_config
from search.evaluation.front_latency import note_latencies
from search.evaluation.held_out import evaluate_untrained
from search.front.read_results import read_results
from search.front.results import Results
from search.population.coordinator import Coordinator
from search.population.progress import Display
from search.population.strategies import STRATEGIES, open_study
from search.report import write_report_of
from search.runs.after_training import after_training
from search.runs.preparation import TIMED_FORM, Prepared, prepare, prepare_again
from search.runs.session import session, starting_ray
from search.runs.standing import (
    Standing,
    as_begun,
    has_finished,
    how_to_extend,
    is_reported,
    standing_of,
)
from search.store.archive import Archive
from search.store.began_with import BEGAN_WITH
from search.store.continued import extended, load_config_of
from search.store.deletion import tidy
from search.store.files import write_text
from search.store.folder import (
    CONFIG,
    INITIAL,
    REPORTED,
    provenance,
    read_manifest,
    refuse_taken,
    update_manifest,
)
from search.store.writer import only_writer, only_writer_of_new
from search.training.engine import told_cap
from search.training.given_ppo import keep_ppo
from search.training.initial import kept_initial
from search.training.tune_run import slots_of, train


def run_search(
    config: ExperimentConfig,
    folder: Path,
    *,
    command: Sequence[str],
    display: Display,
    address: str | None = None,
    ppo: PPOConfig | None = None,
    or_resume: bool = False,
) -> Results:
    """Runs a search up to and including its report.

    Args:
        config: The experiment.
        folder: The results folder; created if missing, and left unchanged if the search is refused.
        command: The command line, for the manifest.
        display: Display for progress.
        address: Address of a Ray cluster; None to start one on this machine.
        ppo: PPO configuration from `given_ppo.made_ready`; None to build it from the experiment.
        or_resume: Whether the same search may already have begun in the folder; it is then resumed, or
            reported as finished. Otherwise the folder must be empty.

    Returns:
        The results, as shown in the report.

    Raises:
        PrunefrontError: A setting is wrong, or the run failed; the folder stays readable.
        KeyboardInterrupt: The run was interrupted; the folder stays readable.
    """
    if or_resume:
        config = as_begun(config, folder)
    standing = _standing(config, folder, or_resume=or_resume)
    if standing == "finished":
        return _finished(config, folder, display)
    prepared = _prepared(config, folder, standing, ppo, address)
    with only_writer_of_new(folder):
        # Another process may have got here first, and ended since.
        if or_resume:
            config = as_begun(config, folder)
        now = _standing(config, folder, or_resume=or_resume)
        if now == "finished":
            return _said_to_be_finished(config, folder, display)
        if now != standing:
            prepared = _prepared(config, folder, now, ppo, address)
        if now == "begun":
            return _go_on(config, prepared, folder, command, display, address)
        config = prepared.config
        if prepared.sized:
            display.note(prepared.sized)
        if prepared.initial is not None:
            prepared.initial.save(folder / INITIAL)
        write_text(folder / CONFIG, config.to_yaml())
        update_manifest(folder, **_described(config, command), status="running")
        if ppo is not None:
            keep_ppo(ppo, folder)
        return _run(config, prepared, folder, display, address)


def resume_search(
    folder: Path,
    overrides: Sequence[str],
    *,
    command: Sequence[str],
    display: Display,
    address: str | None = None,
) -> Results:
    """Resumes a search that ended too early, or extends one that has finished.

    Finished work isn't repeated, but segments that had begun and not ended are trained again from their
    start. A larger budget is spent on training the last segment of the horizon again from the best
    policies before it, with new hyperparameters, or, with strategies that never copy, on new lineages;
    the horizon is unchanged. A search that has finished and gets no more budget is only reported so.

    Args:
        folder: The results folder.
        overrides: "budget.env_steps=…" and "budget.seconds=…"; may be empty.
        command: The command line, for the manifest.
        display: Display for progress.
        address: Address of a Ray cluster; None to start one on this machine.

    Returns:
        The results, as shown in the report.

    Raises:
        PrunefrontError: As in `run_search`; or the folder isn't that of a search, is in use, is
            incomplete, or can't be changed as requested.
        KeyboardInterrupt: The run was interrupted; the folder stays readable.
    """
    config = extended(load_config_of(folder), overrides)
    if has_finished(config, folder):
        return _finished(config, folder, display)
    prepared = _prepared(config, folder, "begun", None, address)
    with only_writer(folder):
        return _go_on(config, prepared, folder, command, display, address)


def _standing(config: ExperimentConfig, folder: Path, *, or_resume: bool) -> Standing:
    if not or_resume:
        refuse_taken(folder)
    return standing_of(config, folder)


def _prepared(
    config: ExperimentConfig,
    folder: Path,
    standing: Standing,
    ppo: PPOConfig | None,
    address: str | None,
) -> Prepared:
    begun = standing == "begun"
    prepared = prepare_again(config, folder) if begun else prepare(config, ppo)
    if address is None:
        prepared.refuse_too_large()
    return prepared


def _finished(config: ExperimentConfig, folder: Path, display: Display) -> Results:
    """Reports that a search has finished; locks the folder only if the report must still be written."""
    if is_reported(folder):
        return _said_to_be_finished(config, folder, display)
    with only_writer(folder):
        return _said_to_be_finished(config, folder, display)


def _said_to_be_finished(config: ExperimentConfig, folder: Path, display: Display) -> Results:
    display.phase(how_to_extend(config, folder))
    # A search may have been killed while it wrote its report.
    return read_results(folder) if is_reported(folder) else _report(folder, display)


def _go_on(
    config: ExperimentConfig,
    prepared: Prepared,
    folder: Path,
    command: Sequence[str],
    display: Display,
    address: str | None,
) -> Results:
    """Resumes a search whose folder this process has locked."""
    tidy(Archive(folder))
    # Written before the manifest: a budget above the manifest's is accepted, a smaller one refused.
    if config != load_config(folder / CONFIG):
        write_text(folder / CONFIG, config.to_yaml())
    earlier = read_manifest(folder)
    now = _described(config, command)
    resumed = {key: now[key] for key in ("command", "started", "versions", "git_revision")}
    update_manifest(
        folder,
        **{**now, **{key: earlier[key] for key in resumed if key in earlier}},
        resumed=[*earlier.get("resumed", []), resumed],
        status="running",
    )
    return _run(config, prepared, folder, display, address)


def _described(config: ExperimentConfig, command: Sequence[str]) -> dict[str, Any]:
    horizon = STRATEGIES[config.search.strategy].horizon_of(config)
    return {
        **provenance(command),
        "name": config.name,
        "env": config.env,
        "strategy": config.search.strategy,
        "seed": config.seed,
        BEGAN_WITH: config.model_dump(mode="json"),
        "members": config.population.members,
        "budget": {**config.budget.model_dump(exclude_none=True), "horizon": horizon},
    }


def _run(
    config: ExperimentConfig,
    prepared: Prepared,
    folder: Path,
    display: Display,
    address: str | None,
) -> Results:
    """Runs every phase that isn't done yet, and writes the report."""
    display.phase(starting_ray(address))
    # The page of an extended search is out of date until the report is written again.
    update_manifest(folder, **{REPORTED: False})
    with session(folder, address, display.note):
        _search(config, prepared, folder, display)
    return _report(folder, display)


def _report(folder: Path, display: Display) -> Results:
    results = read_results(folder)
    display.phase("measuring latencies, one policy at a time")
    note_latencies(results)
    display.phase("writing the report")
    written = write_report_of(results)
    update_manifest(folder, **{REPORTED: True})
    return written


def _search(config: ExperimentConfig, prepared: Prepared, folder: Path, display: Display) -> None:
    ppo, engine = prepared.ppo, prepared.engine
    slots = slots_of(config, engine)
    cluster = ray.cluster_resources()
    update_manifest(
        folder,
        engine=engine.name,
        **({TIMED_FORM: prepared.timed_form} if prepared.timed_form else {}),
        slots=slots,
        hardware={
            **provenance(())["hardware"],
            "cpus": cluster.get("CPU", 0),
            "gpus": cluster.get("GPU", 0),
        },
    )
    archive = Archive(folder)
    display.phase("measuring a random policy and constant actions")
    floor = evaluate_untrained(config, ppo, archive, display.note)
    study = open_study(config, folder)
    weights = prepared.network.total
    coordinator = Coordinator(config, archive, study, floor, weights=weights)
    try:
        if not coordinator.finished:
            capped = told_cap(config, engine, slots)
            display.phase(
                f"training {config.population.members} members, {engine.describe(config, slots)}"
                + (f" ({capped})" if capped else "")
            )
            train(
                config, ppo, folder, coordinator, engine, slots, display,
                initial=kept_initial(config, folder), timed_form=prepared.timed_form,
            )  # fmt: skip
    finally:
        # On a full disk, these writes must not hide the error that ended the search.
        with contextlib.suppress(OSError):
            coordinator.close()
            update_manifest(folder, env_steps=coordinator.spent, failures=coordinator.failures)
    after_training(config, ppo, archive, display)
