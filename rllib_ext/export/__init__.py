"""A policy out of Ray: C, ONNX, numpy or torch, verified where it was trained.

`load` runs an export; it needs neither Ray nor RLlib. Names are loaded when they are first used.

May import `checkpoint`, `policy`, `rl`, `evaluation`, `envs`, `pruning` and `base`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_ext.export.exporting import export_policy
    from rllib_ext.export.loading import load

_HOME = {"export_policy": "rllib_ext.export.exporting", "load": "rllib_ext.export.loading"}

__all__ = ["export_policy", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
