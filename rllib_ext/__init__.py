"""Pruning for RLlib's PPO.

`with_pruning` turns a user's `PPOConfig` into one whose policy is pruned while it trains. Names are
loaded when they are first used, so that configuration and reports never pay for Ray or torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_ext.policy.store import load_policy
    from rllib_ext.pruning.config import PruningConfig
    from rllib_ext.rl.callback import PruningCallback
    from rllib_ext.rl.module.initial import with_initial_weights
    from rllib_ext.rl.preprocess.preprocess import with_preprocessing
    from rllib_ext.rl.with_pruning import with_pruning

_HOME = {
    "PruningCallback": "rllib_ext.rl.callback",
    "PruningConfig": "rllib_ext.pruning.config",
    "load_policy": "rllib_ext.policy.store",
    "with_initial_weights": "rllib_ext.rl.module.initial",
    "with_preprocessing": "rllib_ext.rl.preprocess.preprocess",
    "with_pruning": "rllib_ext.rl.with_pruning",
}

__all__ = [
    "PruningCallback",
    "PruningConfig",
    "load_policy",
    "with_initial_weights",
    "with_preprocessing",
    "with_pruning",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
