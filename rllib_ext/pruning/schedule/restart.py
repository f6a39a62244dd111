"""The learning rate after weights have gone: taken up again, falling back to what its schedule says.

Late in training a small learning rate no longer finds what a pruned network needs. Rewinding it
(Renda et al. 2020, arXiv 2003.02389) retrains with the rates of an earlier time.
"""

from __future__ import annotations

from rllib_ext.pruning.config import PruningConfig


def rate_factor(config: PruningConfig, restarted_at: float | None, progress: float) -> float:
    """By what the learning rate of an update is multiplied.

    Args:
        config: `lr_restart`, and the share of the horizon over which it falls to 1.
        restarted_at: Progress of the last update that removed weights; None: of none.
        progress: Progress of this update, its own batch included as in `restarted_at`.

    Returns:
        `lr_restart` in the update that removed weights, 1 from `lr_restart_span` later on.
    """
    if restarted_at is None:
        return 1.0
    gone = (progress - restarted_at) / config.lr_restart_span
    return 1.0 + (config.lr_restart - 1.0) * min(1.0, max(0.0, 1.0 - gone))
