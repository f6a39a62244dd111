"""Exports a policy for use without Ray: finds the policy, describes it and chooses the output folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from torch import Tensor

from rllib_ext.export.exporting import Options, export_policy
from rllib_ext.export.opened import open_saved, open_unpruned
from rllib_ext.policy.store import PolicyParts
from rllib_ext.pruning.errors import ResultsError
from search.front.read_results import RESULTS_FILES, read_results
from search.front.results import EXPORT, PICKS, Results
from search.report.goal_text import missed_goal
from search.runs.inputs import is_policy, open_checkpoint, open_policy, open_results

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Opened:
    """A policy to export.

    Attributes:
        parts: The policy's RLModule and connectors.
        masks: Masks by parameter name.
        ppo: PPO configuration that names the policy's environment.
        known: Facts about the policy for `policy.json`.
        output: Default output folder.
        missed: Readable warning that the policy misses the search's goal; empty otherwise.
    """

    parts: PolicyParts
    masks: dict[str, Tensor]
    ppo: PPOConfig
    known: dict[str, Any]
    output: Path
    missed: str = ""


def run_export(
    path: Path,
    options: Options,
    *,
    point: str | None = None,
    output: Path | None = None,
    env: str | None = None,
    warn: Say,
    say: Say,
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Exports a front point, a saved policy, or an RLlib checkpoint that prunefront never pruned.

    Args:
        path: A results folder, a saved policy, or an RLlib checkpoint. Opening it runs code from it.
        options: Options of the export.
        point: Policy of a results folder: a snapshot's id, one of `PICKS`, or a trained baseline's name.
            None for `Results.pick`: the policy that meets the search's goal or, without one, the
            sparsest that keeps 95 % of the dense policy (the knee comes first if that policy is weak).
        output: Parent of one folder per form; None for a folder under export/, in the results folder if
            there is one, otherwise in the working directory.
        env: Environment to use instead of the one that the policy names.
        warn: Callback for warnings, such as that code is about to run.
        say: Callback for progress messages.

    Returns:
        The output folder, and the content of each form's `policy.json`.
    """
    found = opened(path, point, env, warn)
    if found.missed:
        warn(found.missed)
    place = output or found.output
    contracts = export_policy(
        found.parts, found.masks, found.ppo, place, options, known=found.known, say=say
    )
    return place, contracts


def opened(path: Path, point: str | None, env: str | None, warn: Say) -> Opened:
    """Opens the policy that a path and a point refer to; the arguments are those of `run_export`."""
    if any((path / mark).is_file() for mark in RESULTS_FILES):
        results = read_results(path)
        row = front_row(results, point)
        folder = path / str(row["policy"])
        ppo = open_results(path, env, warn)
        parts, masks, _ = open_saved(folder)
        name = str(row["snapshot_id"])
        missed = "" if point else missed_goal(results)
        return Opened(parts, masks, ppo, _of_point(results, row), path / EXPORT / name, missed)
    if point is not None:
        if not path.is_dir():
            raise ResultsError(
                f"{path}: there is no such folder. A report's page names its results folder alone: type "
                "the command in the folder that holds it, or give the whole path."
            )
        raise ResultsError(
            f"--point {point}: only a results folder has points, and {path} is none."
        )
    name = path.resolve().name
    if is_policy(path):
        ppo = open_policy(path, env, warn)
        parts, masks, metadata = open_saved(path)
        results_folder = path.resolve().parent.parent
        inside = any((results_folder / mark).is_file() for mark in RESULTS_FILES)
        known = {"source": {"policy": name, **_plain(metadata)}}
        return Opened(
            parts, masks, ppo, known, (results_folder if inside else Path()) / EXPORT / name
        )
    ppo = open_checkpoint(path, env, warn)
    parts, masks, _ = open_unpruned(path)
    return Opened(parts, masks, ppo, {"source": {"checkpoint": name}}, Path(EXPORT) / name)


def front_row(results: Results, point: str | None) -> dict[str, Any]:
    """Returns the row of a point of the front, or of a baseline.

    Args:
        results: The search's results.
        point: A snapshot's id, one of `PICKS`, or a trained baseline's name; None for `Results.pick`.

    Raises:
        ResultsError: There is no such point, or its policy is no longer on disk.
    """
    front = results.front
    named = point or results.pick
    wanted = results.confirmed.pick(named) if named in PICKS else named
    known = [*front.to_dict("records"), *_baseline_rows(results)]
    rows = [row for row in known if row["snapshot_id"] == wanted]
    if not rows:
        ids = ", ".join(front["snapshot_id"].astype(str)) or "none"
        raise ResultsError(
            f"{results.folder} has no point {point or 'that is picked'!r}; expected one of "
            f"{', '.join(PICKS)}, of the front's: {ids}, or a trained baseline's name."
        )
    row = {str(key): value for key, value in rows[0].items()}
    if not row["policy"] or not (results.folder / str(row["policy"])).is_dir():
        raise ResultsError(
            f"the policy of {wanted} is no longer in {results.folder}. Bring policies/ back, or name "
            "another point."
        )
    return row


def _baseline_rows(results: Results) -> list[dict[Any, Any]]:
    """Returns the baselines that have a policy, with the keys of the front's rows."""
    figures = results.confirmed.figures
    return [
        {**row, "snapshot_id": row["name"], "policy": row["checkpoint"], "figures": figures}
        for row in results.baselines.to_dict("records")
        if row["checkpoint"]
    ]


def _of_point(results: Results, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": {
            "search": results.name,
            "snapshot": str(row["snapshot_id"]),
            "sparsity": float(row["sparsity"]),
            "nonzero_weights": int(row["nonzero_params"]),
        },
        "return": {
            "mean": _number(row["return_mean"]),
            "low": _number(row["return_ci_low"]),
            "high": _number(row["return_ci_high"]),
            "episodes": int(row["episodes"]),
            "retained": _number(row["retained"]),
            "where": f"the search's {row['figures']} seeds",
        },
    }


def _number(value: Any) -> float | None:
    """Converts a figure for JSON: None if it isn't finite."""
    return float(value) if math.isfinite(float(value)) else None


def _plain(metadata: dict[str, Any]) -> dict[str, Any]:
    kinds = (str, int, float, bool)
    return {
        key: value
        for key, value in metadata.items()
        if isinstance(value, kinds) and not (isinstance(value, float) and not math.isfinite(value))
    }
