"""Baselines of the front: the dense network, a random policy, the best constant action."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import RunError
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.front.aim import return_that_keeps
from search.store.archive import Baseline, Snapshot


def unpruned(pruning: PruningConfig, horizon: int) -> PruningConfig:
    """The settings of a network that is never pruned.

    Args:
        pruning: Those of members; what only some schedules have is left out.
        horizon: Env steps that it trains for.
    """
    return pruning.replace(
        horizon=horizon,
        final_sparsity=0.0,
        critic_final_sparsity=0.0,
        threshold=None,
        schedule="linear",
        rewind_to=None,
        regrow=None,
        start="dense",
    )


def dense_segment(config: ExperimentConfig) -> Segment:
    """The training of the dense baseline: one member's horizon, the configuration's own settings."""
    # It is what others are held against, not held to what it began with.
    pruning = unpruned(config.pruning, config.horizon).replace(distil=0.0)
    return Segment(
        member=DENSE,
        segment=0,
        trial_number=-1,
        seed=draw(config.seed, "training", 1, DENSE, 0)[0],
        pruning=pruning.to_dict(),
        training={},
        until_env_steps=config.horizon,
        evaluation_seeds=draw(config.seed, "search", config.evaluation.episodes, DENSE),
    )


def dense_baseline(last: Snapshot, env_steps: int) -> Baseline:
    """The dense baseline, from its last snapshot.

    Args:
        last: The last snapshot of its training.
        env_steps: Env steps of its training.
    """
    return Baseline(
        name="dense",
        description="the same network, never pruned, with the configuration's own settings",
        env_steps=env_steps,
        wall_time=last.wall_time,
        search_return=last.return_mean,
        sparsity=last.sparsity,
        nonzero_params=last.nonzero_params,
        total_params=last.total_params,
        checkpoint=last.checkpoint,
    )


def check_dense(error: str) -> None:
    """Ends the search where its dense baseline failed.

    Args:
        error: Why it did; "" where it did not.

    Raises:
        RunError: The dense baseline failed.
    """
    if error:
        raise RunError(
            f"the dense baseline failed ({error}), so nothing can be compared with it. Check the "
            "environment and the ppo settings; see dense-s000/error.txt in tune/."
        )


def least_return(
    config: ExperimentConfig, baselines: Mapping[str, Baseline], floor: float
) -> float:
    """The mean return that `search.min_retained` asks for.

    Args:
        config: The experiment.
        baselines: By name, as far as they are known.
        floor: Stands for the random policy's return where that is not known.

    Returns:
        −∞ without such a limit, before the dense baseline is known, where that is no better than a
        random policy, and where there is none.
    """
    share = config.search.min_retained
    least = math.inf if share is None else return_that_keeps(share, baselines, floor)
    return least if math.isfinite(least) else -math.inf
