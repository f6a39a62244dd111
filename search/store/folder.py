"""A results folder: its files, and the manifest in which a run describes itself."""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.store.files import ASIDE, write_text

CONFIG = "config.yaml"
INITIAL = "initial.pkl"
MANIFEST = "manifest.json"
PAGE = "report.html"
# The complete `PPOConfig` of a search started from Python.
PPO_CONFIG = "ppo_config.pkl"
# Folder of the recipe check, with its own archive.
RETRAIN = "retrain"
# In a policy's folder: the film of an episode and a still of it. In its metadata: the film's
# description, or the reason why there is no film.
MOVING, STILL = "episode.webp", "episode_still.webp"
FILM, FILM_NOTE = "episode", "episode_note"
# The manifest's strategy in folders that `prunefront prune` wrote, which can't be resumed.
PRUNED = "prune"
# The manifest's status of a run that has ended normally.
FINISHED = "finished"
# Manifest key of a search: whether the report shows everything that the search found.
REPORTED = "reported"
LOCK = ".lock"
# Schemes have at least two letters, so that C:/ doesn't count as an address.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_PACKAGES = ("prunefront", "ray", "torch", "gymnasium", "optuna", "numpy", "pandas")


def place_of(name: str, output: Path | None) -> Path:
    """Returns the absolute path of a results folder without creating it.

    Args:
        name: Name of the experiment.
        output: Path of the folder; None means `results/<name>-<date>-<time>`.

    Raises:
        ConfigError: The path is an address.
    """
    if output is not None:
        refuse_address(str(output), "--output")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return (output or Path("results") / f"{name}-{stamp}").resolve()


def refuse_address(text: str, what: str) -> None:
    """Refuses addresses in place of paths: "s3://bucket" would become a local folder called "s3:".

    Args:
        text: A path as it was given, or as `Path` writes it, with one slash.
        what: Beginning of the error message.

    Raises:
        ConfigError: The path is an address.
    """
    found = _ADDRESS.match(text)
    if found is None:
        return
    scheme, rest = found.groups()
    mend = (
        f"Expected a path: /{rest}."
        if scheme.lower() == "file"
        else "Expected a path that every node sees, such as a network file system or a mounted bucket."
    )
    raise ConfigError(f"{what} {text} is an address, and results are files in a folder. {mend}")


def refuse_taken(folder: Path) -> None:
    """Checks that a new run may write to a folder.

    Raises:
        ResultsError: The path is a file, or the folder holds more than a run that never began leaves.
    """
    if not is_free(folder):
        raise ResultsError(
            f"{folder} is not empty, and a search never writes over another one's results. Go on with "
            f"what is there by `prunefront resume {folder}`, name another folder with --output, or "
            "remove this one."
        )


def is_free(folder: Path) -> bool:
    """Whether a folder is missing, or holds only files that a run killed at its start leaves."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(_is_leftover(path.name) for path in folder.iterdir())


def remove_unbegun(folder: Path, *, refused: bool, made: bool) -> None:
    """Removes the files of a run that recorded nothing; if it recorded anything, nothing is removed.

    Args:
        folder: Results folder of the run; the caller holds its lock.
        refused: Whether the run was refused: then its own description is removed too, so that a
            corrected run finds the folder as this one did. Otherwise a described run can be resumed.
        made: Whether the run created the folder.
    """
    own = {CONFIG, MANIFEST, PPO_CONFIG} if refused else set()
    names = [path.name for path in folder.iterdir()]
    if not all(name in own or _is_leftover(name) for name in names):
        return
    with contextlib.suppress(OSError):
        # The lock is removed last, so that no other run begins before.
        for name in sorted(names, key=lambda name: name == LOCK):
            (folder / name).unlink(missing_ok=True)
        if made:
            folder.rmdir()


def _is_leftover(name: str) -> bool:
    return name in (LOCK, INITIAL) or fnmatch.fnmatch(name, ASIDE)


def update_manifest(folder: Path, **values: Any) -> None:
    """Adds values to the manifest; existing keys are replaced."""
    write_text(folder / MANIFEST, json.dumps({**read_manifest(folder), **values}, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest, in which the run describes itself; empty if there is none.

    Raises:
        ResultsError: The file is not JSON.
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
    """Returns the provenance of a run: command, start time, versions, revision and hardware."""
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
    """Returns the Git revision of this code; empty outside a checkout."""
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
