"""The search for the reward–sparsity Pareto front of a PPO policy, and the report made of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.from_python import run
    from search.results import Results, load

_HOME = {"Results": "search.results", "load": "search.results", "run": "search.from_python"}

__all__ = ["Results", "load", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
