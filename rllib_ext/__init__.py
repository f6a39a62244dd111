"""Pruning for RLlib's PPO.

`with_pruning` turns a user's `PPOConfig` into one whose policy is pruned while it trains. Names are
loaded when they are first used, so that configuration and reports never pay for Ray or torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_ext.callback import PruningCallback
    from rllib_ext.compose import with_pruning
    from rllib_ext.policy import load_policy
    from rllib_ext.pruning.config import PruningConfig

_HOME = {
    "PruningCallback": "rllib_ext.callback",
    "PruningConfig": "rllib_ext.pruning.config",
    "load_policy": "rllib_ext.policy",
    "with_pruning": "rllib_ext.compose",
}

__all__ = ["PruningCallback", "PruningConfig", "load_policy", "with_pruning"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
