"""Compares checkpoints with their retrained recipes (the recipe check). NumPy and pandas only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.front.confirmed_front import Front
from search.front.intervals import (
    FEWEST,
    interquartile_interval,
    interquartile_mean,
    interval,
    no_interval_note,
    resampled_means,
)
from search.store.archive import Archive, Evaluation, Snapshot
from search.store.recipe_archive import archive_of, replays_by_member

RETRAIN_COLUMNS = (
    "snapshot_id",
    "row",
    "seeds",
    "return_mean",
    "return_ci_low",
    "return_ci_high",
    "return_worst",
    "return_best",
    "retained",
    "sparsity",
    "nonzero_params",
    "env_steps",
    "episodes",
    "checkpoint_return",
    "checkpoint_ci_low",
    "checkpoint_ci_high",
    "checkpoint_retained",
    "checkpoint_sparsity",
    "failed",
    "return_note",
    "policy",
)
RECIPE = "recipe"


def recipe_table(folder: Path, front: Front) -> pd.DataFrame:
    """Returns the recipe check as a table.

    Args:
        folder: The results folder.
        front: Front of the search; points that are not among its candidates are left out.

    Returns:
        Columns `RETRAIN_COLUMNS`; empty if no replay was evaluated and none failed. Each point has one
        row per seed ("seed 0" …: mean and interval over episodes), then a row "recipe": the
        interquartile mean over seeds, its interval from resampling whole trainings, worst and best seed,
        medians of sparsity and weights, and the number of trainings that failed or had non-finite
        returns.
    """
    archive = archive_of(folder)
    rows: list[dict[str, Any]] = []
    if archive is not None:
        ends = {s.member: s for s in archive.available()}
        played = {e.snapshot_id: e for e in archive.evaluations() if e.purpose == "report"}
        episodes = {i: e for i, e in played.items() if e.returns and np.isfinite(e.returns).all()}
        broken = played.keys() - episodes.keys()
        numbers = replays_by_member(archive)
        failed = _failed(archive) | {m for m, s in ends.items() if s.snapshot_id in broken}
        for point in front.candidates.to_dict("records"):
            own = {i: m for m, (name, i) in numbers.items() if name == point["snapshot_id"]}
            lost = sum(m in failed for m in own.values())
            found = [(i, ends[m]) for i, m in sorted(own.items()) if m in ends]
            found = [(i, s) for i, s in found if s.snapshot_id in episodes]
            rows += _rows(point, found, episodes, lost, front)
    return pd.DataFrame(rows, columns=list(RETRAIN_COLUMNS))


def _failed(archive: Archive) -> set[int]:
    """Returns the numbers of the replays whose last attempt failed."""
    ended = {s.member: s.segment for s in archive.snapshots()}
    last = {int(e["member"]): int(e["segment"]) for e in archive.events() if _is_failure(e)}
    return {member for member, segment in last.items() if ended.get(member, -1) < segment}


def _is_failure(event: Mapping[str, Any]) -> bool:
    return event.get("event") == "failure"


def _rows(
    point: Mapping[Any, Any],
    found: Sequence[tuple[int, Snapshot]],
    episodes: Mapping[str, Evaluation],
    lost: int,
    front: Front,
) -> list[dict[str, Any]]:
    if not found and not lost:
        return []
    beside = {
        "snapshot_id": point["snapshot_id"],
        "checkpoint_return": point["return_mean"],
        "checkpoint_ci_low": point["return_ci_low"],
        "checkpoint_ci_high": point["return_ci_high"],
        "checkpoint_retained": point["retained"],
        "checkpoint_sparsity": point["sparsity"],
    }
    rng = np.random.default_rng(0)
    rows = []
    for index, snapshot in found:
        played = episodes[snapshot.snapshot_id]
        mean = float(np.mean(played.returns))
        low, high = interval(played.returns, resampled_means([played], rng)[:, 0])
        rows.append(
            {
                **beside,
                "row": f"seed {index}",
                "seeds": 1,
                "return_mean": mean,
                "return_ci_low": low,
                "return_ci_high": high,
                "retained": float(front.scale.retained(mean)),
                "sparsity": snapshot.sparsity,
                "nonzero_params": snapshot.nonzero_params,
                "env_steps": snapshot.env_steps,
                "episodes": len(played.returns),
                "failed": 0,
                "return_note": no_interval_note(played.returns),
                "policy": f"retrain/{snapshot.checkpoint}" if snapshot.checkpoint else "",
            }
        )
    return [*rows, {**beside, **_summary(rows, lost, front, rng)}]


def _summary(
    rows: Sequence[Mapping[str, Any]], lost: int, front: Front, rng: np.random.Generator
) -> dict[str, Any]:
    returns = np.array([row["return_mean"] for row in rows], dtype=np.float64)
    central = float(interquartile_mean(returns)) if len(returns) else math.nan
    low, high = interquartile_interval(returns, rng)
    return {
        "row": RECIPE,
        "seeds": len(rows),
        "return_mean": central,
        "return_ci_low": low,
        "return_ci_high": high,
        "return_worst": returns.min(initial=math.inf) if len(returns) else math.nan,
        "return_best": returns.max(initial=-math.inf) if len(returns) else math.nan,
        "retained": float(front.scale.retained(central)),
        "sparsity": _median(rows, "sparsity"),
        "nonzero_params": _median(rows, "nonzero_params"),
        "env_steps": sum(row["env_steps"] for row in rows),
        "episodes": sum(row["episodes"] for row in rows),
        "failed": lost,
        "return_note": _note(returns),
        "policy": "",
    }


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.median([row[name] for row in rows])) if rows else math.nan


def _note(returns: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Returns the reason why the recipe has no interval; empty if it has one."""
    if len(returns) < FEWEST:
        return f"fewer than {FEWEST} seeds: no interval"
    if np.ptp(returns) == 0:
        return f"all {len(returns)} seeds returned {returns[0]:g}: no interval"
    return ""
