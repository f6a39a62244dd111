"""Limits MuJoCo's warnings to one line per process, without a MUJOCO_LOG.TXT in the working directory.

By itself MuJoCo prints a warning whenever one of Gymnasium's own models is built, whose XML it now calls
deprecated, and appends each to that file.
"""

from __future__ import annotations

import importlib
import logging

import gymnasium

logger = logging.getLogger(__name__)


def quieten_mujoco(env: str) -> None:
    """Makes MuJoCo show only its first useful warning, if an id is one of its environments.

    To be called in the process that builds the environment, before it does.

    Args:
        env: A Gymnasium id.
    """
    if not is_mujoco(env):
        return
    try:
        mujoco = importlib.import_module("mujoco")
    except ImportError:
        # Gymnasium says what is missing.
        return
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_First())


def is_mujoco(env: str) -> bool:
    """Whether a Gymnasium id is one of Gymnasium's own MuJoCo environments."""
    spec = gymnasium.registry.get(env)
    entry = spec.entry_point if spec is not None else None
    return isinstance(entry, str) and entry.startswith("gymnasium.envs.mujoco")


class _First:
    """Takes MuJoCo's warnings; passes on the first that isn't about the age of a model's file."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, text: str) -> None:
        if self._told or "deprecated" in text:
            return
        self._told = True
        logger.warning("MuJoCo: %s (its further warnings are not shown)", text.strip())
