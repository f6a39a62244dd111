"""Scales rewards to units of the running standard deviation of discounted returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# As in Gymnasium's NormalizeReward and in stable-baselines3's VecNormalize: the weight of the initial
# guess, mean 0 and variance 1, and the term that prevents division by a variance of 0.
FIRST_COUNT = 1e-4
EPSILON = 1e-8


class RewardScales:
    """Running variances of the discounted returns of each member, by whose roots rewards are divided.

    The statistics are those of Gymnasium's `NormalizeReward` and stable-baselines3's `VecNormalize`.
    They take in a whole batch before it is scaled, so that all rewards of an update are on one scale,
    and the order of environments within it doesn't matter.

    Args:
        members: Number of members.
        normalise: Whether rewards are divided; otherwise they are only clipped.
        clip: Largest magnitude of a resulting reward; None means no limit.
    """

    def __init__(self, members: int, *, normalise: bool, clip: float | None) -> None:
        self.normalise, self.clip = normalise, clip
        self._mean, self._variance, self._count = np.empty((3, members))
        for member in range(members):
            self.restart(member)

    def see(self, members: Array, returns: Array) -> None:
        """Adds the discounted returns of a batch to the statistics, as Chan, Golub and LeVeque do.

        Args:
            members: Index of the member that each row of returns belongs to, shape (n,).
            returns: Discounted return at each step, shape (n, steps); steps ≥ 1.
        """
        if not self.normalise:
            return
        count = returns.shape[1]
        mean, variance = returns.mean(axis=1), returns.var(axis=1)
        before, total = self._count[members], self._count[members] + count
        change = mean - self._mean[members]
        squares = self._variance[members] * before + variance * count
        squares += change**2 * before * count / total
        self._mean[members] += change * count / total
        self._variance[members] = squares / total
        self._count[members] = total

    def scaled(self, members: Array, rewards: Array) -> Array:
        """Returns the rewards that PPO is trained on; the statistics stay unchanged.

        Args:
            members: Index of the member that each row of rewards belongs to, shape (n,).
            rewards: Rewards of shape (n, …).
        """
        if self.normalise:
            scale = np.sqrt(self._variance[members] + EPSILON)
            rewards = rewards / scale.reshape(-1, *(1,) * (rewards.ndim - 1))
        return rewards if self.clip is None else np.clip(rewards, -self.clip, self.clip)

    def restart(self, member: int) -> None:
        """Resets the statistics of a member."""
        self._mean[member], self._variance[member], self._count[member] = 0.0, 1.0, FIRST_COUNT

    def state(self, member: int) -> dict[str, float]:
        """Returns a member's statistics as plain values; empty if rewards are not normalised."""
        if not self.normalise:
            return {}
        return {
            "mean": float(self._mean[member]),
            "variance": float(self._variance[member]),
            "count": float(self._count[member]),
        }

    def load(self, member: int, state: Mapping[str, float]) -> None:
        """Restores statistics that `state` returned; an empty mapping resets them."""
        self.restart(member)
        if self.normalise and state:
            self._mean[member] = state["mean"]
            self._variance[member] = state["variance"]
            self._count[member] = state["count"]


def discounted(rewards: Array, ended: Array, before: Array, gamma: float) -> tuple[Array, Array]:
    """Returns the discounted returns so far, step by step: R ← γ R + r, from 0 in each episode.

    Args:
        rewards: Rewards of shape (steps, …).
        ended: Whether an episode was over with the step, of the same shape.
        before: R before the first step, of shape (…).
        gamma: Discount γ.

    Returns:
        R at each step, of the shape of `rewards`, and the R to continue with.
    """
    found = np.empty(rewards.shape)
    so_far = before
    for t in range(len(rewards)):
        found[t] = so_far = gamma * so_far + rewards[t]
        so_far = np.where(ended[t], 0.0, so_far)
    return found, so_far
