"""A results folder: what lies in it, and what the run says of itself."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.files import write_text

CONFIG = "config.yaml"
INITIAL = "initial.pkl"
MANIFEST = "manifest.json"
# What the recipe check writes: an archive of its own.
RETRAIN = "retrain"
# What the manifest's status is of a run that came to its end.
FINISHED = "finished"
LOCK = ".lock"
_PACKAGES = ("prunefront", "ray", "torch", "gymnasium", "optuna", "numpy", "pandas")


def free_folder(name: str, output: Path | None) -> Path:
    """Where a new results folder will be; makes nothing yet.

    Args:
        name: The experiment's.
        output: Where to; None: `results/<name>-<date>-<time>`.

    Raises:
        ResultsError: The folder is there already and not empty.
    """
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = output or Path("results") / f"{name}-{stamp}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResultsError(
            f"{folder} is not empty, and a search never writes over another one's results. Name "
            "another folder with --output, or remove this one."
        )
    return folder


def new_folder(name: str, output: Path | None) -> Path:
    """Makes the results folder of a new search.

    Args:
        name: The experiment's.
        output: Where to; None: `results/<name>-<date>-<time>`.

    Raises:
        ResultsError: The folder is there already and not empty, or cannot be made.
    """
    folder = free_folder(name, output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be made: {error}") from error
    return folder.resolve()


def remove_unbegun(folder: Path) -> None:
    """Removes a new folder whose run ended before it wrote what it is; others stay as they are."""
    if any((folder / name).exists() for name in (CONFIG, MANIFEST, "snapshots.jsonl")):
        return
    with contextlib.suppress(OSError):
        for name in (INITIAL, LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def update_manifest(folder: Path, **values: Any) -> None:
    """Adds to what the run says of itself; keys that are there are replaced."""
    write_text(folder / MANIFEST, json.dumps({**read_manifest(folder), **values}, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the run says of itself; empty where it says nothing.

    Raises:
        ResultsError: The file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {error}. Remove it to go on without.") from error
    return dict(values) if isinstance(values, Mapping) else {}


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """Where and with what a run was made: command, versions, revision, hardware, time."""
    return {
        "command": list(command),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
        "git_revision": _git_revision(),
        "hardware": {"platform": platform.platform(), "machine": platform.machine()},
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _git_revision() -> str:
    """The revision of this code; "" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
