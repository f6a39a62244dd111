"""Determines the phase of a search from its folder, as an outside observer."""

from __future__ import annotations

from typing import Any

from search.config.baseline_kinds import KINDS
from search.config.experiment import ExperimentConfig
from search.evaluation.held_out import PURPOSES
from search.front.generalisation import FILE as SHIFTED
from search.store.archive import CANDIDATES, Archive
from search.store.folder import read_manifest

PHASES = ("training", "re-evaluation", "baselines", "shifts", "finished")
TRAINING, RE_EVALUATION, BASELINES, SHIFTS, FINISHED = range(len(PHASES))


def position(archive: Archive, config: ExperimentConfig) -> float:
    """Returns the number of the phase plus the share of it that is done.

    Args:
        archive: Archive of the results folder.
        config: The experiment.
    """
    manifest = read_manifest(archive.folder)
    if manifest.get("status") == "finished":
        return float(FINISHED)
    events = archive.events()
    chosen = last_choice(events)
    spent = manifest.get("env_steps", {}).get("training", 0)
    if chosen is None or spent < (config.budget.env_steps or 0):
        repeats = sum(e["event"] == "repeat" for e in events)
        return TRAINING + min(0.999, _trained(archive, config, repeats))
    played = {(e.snapshot_id, e.purpose) for e in archive.evaluations()}

    def rated(name: str) -> bool:
        return all((name, purpose) in played for purpose in PURPOSES)

    policies = ["dense", *chosen]
    done = sum(map(rated, policies))
    if done < len(policies):
        return RE_EVALUATION + done / len(policies)
    trained = [b.name for b in archive.baselines().values() if b.kind]
    over = len(set(trained) | {str(e["member"]) for e in failed_baselines(events)})
    wanted = sum(getattr(config.baselines, kind) for kind in KINDS)
    # A front with few points gives rise to fewer baselines.
    if not (over >= wanted or (archive.folder / SHIFTED).exists()):
        return BASELINES + over / wanted
    return float(SHIFTS if all(map(rated, trained)) else BASELINES)


def last_choice(events: list[dict[str, Any]]) -> list[str] | None:
    """Returns the candidates chosen since the last segment began, or None if there are none."""
    chosen: list[str] | None = None
    for event in events:
        if event["event"] == CANDIDATES:
            chosen = event["chosen"]
        elif event["event"] == "start":
            chosen = None
    return chosen


def failed_baselines(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the failures of baselines that were trained after the search: their member is a name."""
    return [e for e in events if e["event"] == "failure" and not isinstance(e["member"], int)]


def _trained(archive: Archive, config: ExperimentConfig, repeats: int) -> float:
    assert config.budget.env_steps is not None, "a drill's budget is in env steps"
    batch = int(config.ppo.training["train_batch_size_per_learner"]) * config.evaluation.interval
    return (len(archive.snapshots()) + repeats) * batch / config.budget.env_steps
