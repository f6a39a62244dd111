"""Checkpoints of other libraries, told by the names in them; none of their code runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

# What Stable-Baselines3's `save` puts into its zip.
_STABLE_BASELINES = {"data", "policy.pth"}


def foreign(path: Path) -> str:
    """Returns whose checkpoint it is and what to do, for a message; empty if it isn't recognised.

    Args:
        path: A file or a folder.
    """
    if _names(path) >= _STABLE_BASELINES:
        return (
            f"{path} is a model of Stable-Baselines3. Only PPO that RLlib trained can be read: train it "
            "again there (`prunefront search` does so while it prunes)."
        )
    return ""


def _names(path: Path) -> set[str]:
    if path.is_dir():
        return {inner.name for inner in path.iterdir()}
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return set()
