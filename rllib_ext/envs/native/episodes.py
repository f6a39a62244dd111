"""Plays whole episodes of native environments side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rllib_ext.envs.native.dynamics import Array, Dynamics, seeded, starts

# Maps indices of unfinished episodes, their observations and last rewards to actions.
Act = Callable[[Sequence[int], Array, Sequence[float]], Sequence[Any] | Array]


def play(
    dynamics: Dynamics, act: Act, seeds: Sequence[int], limit: int
) -> tuple[Array, Array, Array]:
    """Plays one episode per seed, each until it ends or is cut.

    Args:
        dynamics: Dynamics of the environment.
        act: Returns actions for observations, as `rllib_ext.evaluation.evaluator.Policy.act` does.
        seeds: Seeds that the single environments would be reset with, ≥ 0.
        limit: Steps after which an episode is cut, ≥ 1.

    Returns:
        Undiscounted returns, lengths, and whether the episode ended by itself, in the seeds' order.
    """
    states, observations = starts(dynamics, [seeded(seed) for seed in seeds])
    returns, rewards = np.zeros(len(seeds)), np.zeros(len(seeds))
    lengths = np.full(len(seeds), limit)
    ended = np.zeros(len(seeds), dtype=bool)
    going = np.arange(len(seeds))
    for step in range(1, limit + 1):
        actions = np.asarray(act(going.tolist(), observations, rewards.tolist()))
        states, rewards, over = dynamics.step(states, actions)
        returns[going] += rewards
        if over.any():
            lengths[going[over]], ended[going[over]] = step, True
            going, states, rewards = going[~over], states[:, ~over], rewards[~over]
            if not len(going):
                break
        observations = dynamics.observe(states)
    return returns, lengths, ended
