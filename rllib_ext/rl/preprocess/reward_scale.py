"""Rewards in units of the running standard deviation of discounted returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# As in Gymnasium's NormalizeReward and in stable-baselines3's VecNormalize: the weight of the first
# guess, mean 0 and variance 1, and what keeps a variance of 0 from dividing.
FIRST_COUNT = 1e-4
EPSILON = 1e-8


class RewardScales:
    """Running variances of discounted returns, one a member, and rewards divided by their roots.

    The statistics are those of Gymnasium's `NormalizeReward` and stable-baselines3's `VecNormalize`.
    A whole batch is seen before it is scaled, so that all rewards of an update are on one scale, and
    the order of environments within it doesn't matter.

    Args:
        members: How many.
        normalise: Whether rewards are divided; otherwise they are clipped only.
        clip: Largest magnitude of what comes out; None: any.
    """

    def __init__(self, members: int, *, normalise: bool, clip: float | None) -> None:
        self.normalise, self.clip = normalise, clip
        self._mean, self._variance, self._count = np.empty((3, members))
        for member in range(members):
            self.restart(member)

    def see(self, members: Array, returns: Array) -> None:
        """Takes the discounted returns of a batch; the joined moments are Chan, Golub and LeVeque's.

        Args:
            members: Whose they are, of shape (n,).
            returns: One a step, of shape (n, steps); steps ≥ 1.
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
        """Rewards as PPO shall see them; nothing is learned of them.

        Args:
            members: Whose they are, of shape (n,).
            rewards: An array of shape (n, …).
        """
        if self.normalise:
            scale = np.sqrt(self._variance[members] + EPSILON)
            rewards = rewards / scale.reshape(-1, *(1,) * (rewards.ndim - 1))
        return rewards if self.clip is None else np.clip(rewards, -self.clip, self.clip)

    def restart(self, member: int) -> None:
        """Forgets what a member has seen."""
        self._mean[member], self._variance[member], self._count[member] = 0.0, 1.0, FIRST_COUNT

    def state(self, member: int) -> dict[str, float]:
        """A member's statistics, as plain values; {} where nothing is learned."""
        if not self.normalise:
            return {}
        return {
            "mean": float(self._mean[member]),
            "variance": float(self._variance[member]),
            "count": float(self._count[member]),
        }

    def load(self, member: int, state: Mapping[str, float]) -> None:
        """Takes over what `state` gave; {} forgets."""
        self.restart(member)
        if self.normalise and state:
            self._mean[member] = state["mean"]
            self._variance[member] = state["variance"]
            self._count[member] = state["count"]


def discounted(rewards: Array, ended: Array, before: Array, gamma: float) -> tuple[Array, Array]:
    """Discounted returns so far, step by step: R ← γ R + r, from 0 in each episode.

    Args:
        rewards: An array of shape (steps, …).
        ended: Whether an episode was over with the step, of the same shape.
        before: R after the step before the first, of shape (…).
        gamma: γ.

    Returns:
        R of each step, of the shape of `rewards`, and R to go on with.
    """
    found = np.empty(rewards.shape)
    so_far = before
    for t in range(len(rewards)):
        found[t] = so_far = gamma * so_far + rewards[t]
        so_far = np.where(ended[t], 0.0, so_far)
    return found, so_far
