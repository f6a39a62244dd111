"""Reads a results folder, checks it and reports losses. Nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.front.results import Results
from search.store.archive import Archive
from search.store.folder import CONFIG, MANIFEST, PRUNED, refuse_address
from search.store.losses import losses_of

# A folder with any of these files is a results folder.
RESULTS_FILES = (CONFIG, MANIFEST, "snapshots.jsonl")


def read_results(folder: str | Path) -> Results:
    """Reads a results folder.

    Args:
        folder: Path of the folder, such as "results/cartpole".

    Raises:
        ConfigError: `folder` is an address.
        ResultsError: The folder doesn't exist, isn't a results folder or has no snapshot yet, or one of
            its files can't be read.
    """
    refuse_address(str(folder), "the results folder")
    path = Path(folder)
    if not path.is_dir():
        raise ResultsError(
            f"{path} is not a folder. Expected a results folder of `prunefront search`."
        )
    if not any((path / mark).is_file() for mark in RESULTS_FILES):
        raise ResultsError(
            f"{path} is not a results folder: it holds none of {', '.join(RESULTS_FILES)}. Expected the "
            "--output of `prunefront search`."
        )
    # The manifest is read before the record files, because the search may still be running.
    manifest = _manifest(path / MANIFEST)
    archive = Archive(path)
    records, evaluations = archive.available(), archive.evaluations()
    baselines, events = archive.baselines(), archive.events()
    losses = losses_of(path, manifest, records, evaluations, baselines, events)
    if not records and losses:
        raise ResultsError(
            f"{path}: nothing is left to report: {'; '.join(losses)}. Bring the files back, such as "
            "from a backup."
        )
    if not records:
        why = f"the search has made no snapshot. Go on with `prunefront resume {path}`."
        if manifest.get("strategy") == PRUNED:
            why = "no level was pruned. Run `prunefront prune` again into another folder."
        raise ResultsError(f"{path}: nothing to report yet, {why}")
    config = path / CONFIG
    return Results(
        folder=path,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        manifest=manifest,
        records=records,
        evaluations=evaluations,
        baseline_records=baselines,
        events=events,
        losses=tuple(losses),
    )


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(
            f"{path} is not JSON ({error}). Remove it to make the report without the manifest."
        ) from error
    if not isinstance(values, dict):
        raise ResultsError(f"{path} holds no JSON object. Remove it to make the report without it.")
    return values
