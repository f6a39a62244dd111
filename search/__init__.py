"""The search for the reward–sparsity Pareto front of a PPO policy, and the report made of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.front.results import Results
    from search.report.notebook import load
    from search.runs.from_python import run

_HOME = {
    "Results": "search.front.results",
    "load": "search.report.notebook",
    "run": "search.runs.from_python",
}

__all__ = ["Results", "load", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
