"""Weights the distillation loss: how closely a network in training follows its teacher."""

from __future__ import annotations

from rllib_ext.pruning.config import PruningConfig


def teaching_weight(config: PruningConfig, progress: float) -> float:
    """The weight of the divergence from the teacher in the loss of an update.

    It falls to nothing, so that the student can end up better than its teacher (Schmitt et al. 2018,
    arXiv 1803.03835, "Kickstarting deep reinforcement learning").

    Args:
        config: `distil`, and the share of the horizon at which it has fallen to 0.
        progress: Progress of training at this update, its own batch included.
    """
    return config.distil * max(0.0, 1.0 - progress / config.distil_until)
