"""A results folder: what lies in it, and what the run says of itself."""

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
# What Python handed over whole.
PPO_CONFIG = "ppo_config.pkl"
# What the recipe check writes: an archive of its own.
RETRAIN = "retrain"
# In a policy's folder: an episode of it, one picture of that; in its metadata: what it shows, or why
# there is none.
MOVING, STILL = "episode.webp", "episode_still.webp"
FILM, FILM_NOTE = "episode", "episode_note"
# What the manifest's strategy is of what `prunefront prune` wrote, which can't be resumed.
PRUNED = "prune"
# What the manifest's status is of a run that came to its end.
FINISHED = "finished"
# In the manifest of a search, whether the page shows all that the search made.
REPORTED = "reported"
LOCK = ".lock"
# With two letters and more, or C:/ would be one.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_PACKAGES = ("prunefront", "ray", "torch", "gymnasium", "optuna", "numpy", "pandas")


def place_of(name: str, output: Path | None) -> Path:
    """Where a results folder lies, or will; makes nothing.

    Args:
        name: The experiment's.
        output: Where to; None: `results/<name>-<date>-<time>`.

    Raises:
        ConfigError: The path is an address.
    """
    if output is not None:
        refuse_address(str(output), "--output")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return (output or Path("results") / f"{name}-{stamp}").resolve()


def refuse_address(text: str, what: str) -> None:
    """Looks whether a folder is named by a path: "s3://bucket" would be one called "s3:" here.

    Args:
        text: A path as it was given, or as `Path` has it, with one slash.
        what: Begins the message.

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
    """Looks whether a new run may write here.

    Raises:
        ResultsError: The place is a file, or holds what a run that never began would not leave.
    """
    if not is_free(folder):
        raise ResultsError(
            f"{folder} is not empty, and a search never writes over another one's results. Go on with "
            f"what is there by `prunefront resume {folder}`, name another folder with --output, or "
            "remove this one."
        )


def is_free(folder: Path) -> bool:
    """Whether a folder is missing, or holds nothing but what a run leaves that was killed at once."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(_is_leftover(path.name) for path in folder.iterdir())


def remove_unbegun(folder: Path, *, refused: bool, made: bool) -> None:
    """Removes what a run wrote that recorded nothing; where it did record something, nothing goes.

    Args:
        folder: The run's results folder, whose lock the caller holds.
        refused: Whether what was asked for is wrong: then its own description goes too, so that the
            corrected run finds the folder as this one did. Otherwise a described run can be resumed.
        made: Whether the run made the folder.
    """
    own = {CONFIG, MANIFEST, PPO_CONFIG} if refused else set()
    names = [path.name for path in folder.iterdir()]
    if not all(name in own or _is_leftover(name) for name in names):
        return
    with contextlib.suppress(OSError):
        # The lock last: nobody else begins before all is gone.
        for name in sorted(names, key=lambda name: name == LOCK):
            (folder / name).unlink(missing_ok=True)
        if made:
            folder.rmdir()


def _is_leftover(name: str) -> bool:
    return name in (LOCK, INITIAL) or fnmatch.fnmatch(name, ASIDE)


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
