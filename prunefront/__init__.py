"""prunefront's public API under one name that nobody else's file has.

What users import from `search` and `rllib_ext` stands here too, and a script beside a `search.py` of its
own takes it from here: these two packages are found first, whatever lies before them on the path.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prunefront.own import hold

# Before anything of theirs is asked for.
hold()

if TYPE_CHECKING:
    from rllib_ext import (
        PruningCallback,
        PruningConfig,
        load_policy,
        with_initial_weights,
        with_preprocessing,
        with_pruning,
    )
    from rllib_ext.pruning.errors import PrunefrontError
    from search import Results, load, run

_HOME = {
    "PrunefrontError": "rllib_ext.pruning.errors",
    "PruningCallback": "rllib_ext",
    "PruningConfig": "rllib_ext",
    "Results": "search",
    "load": "search",
    "load_policy": "rllib_ext",
    "run": "search",
    "with_initial_weights": "rllib_ext",
    "with_preprocessing": "rllib_ext",
    "with_pruning": "rllib_ext",
}

__all__ = [
    "PrunefrontError",
    "PruningCallback",
    "PruningConfig",
    "Results",
    "load",
    "load_policy",
    "run",
    "with_initial_weights",
    "with_preprocessing",
    "with_pruning",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
