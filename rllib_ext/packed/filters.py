"""Observation filters of all members: what RLlib's MeanStdFilter computes, statistics each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.filter import RunningStat
from ray.rllib.utils.numpy import SMALL_NUMBER

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.stack_frames import StackFrames

Array = np.ndarray[Any, np.dtype[Any]]


class Filters:
    """Observation filters, one per member.

    Args:
        connector: RLlib's filter, for its settings; None: observations pass as they are.
        members: Number of members.
        shape: An observation's shape.
    """

    def __init__(
        self, connector: MeanStdFilter | None, members: int, shape: tuple[int, ...]
    ) -> None:
        self._connector = connector
        self._shape = shape
        features = math.prod(shape)
        self._counts = np.zeros(members, dtype=np.int64)
        self._means = np.zeros((members, features))
        self._squares = np.zeros((members, features))

    def see(self, member: int, observations: Array) -> Array:
        """Takes one member's observations, in order, and normalises each.

        Args:
            member: Index of the member.
            observations: An array of shape (observations, *shape).

        Returns:
            An array of shape (observations, features), float32.
        """
        seen = _flat(observations)
        if self._connector is None:
            return seen.astype(np.float32, copy=False)
        rows = np.array([member])
        return np.concatenate([self._see(rows, row[None]) for row in seen])

    def see_all(self, observations: Array) -> Array:
        """The same for all members, each with as many observations, one member after the other."""
        flat = _flat(observations)
        if self._connector is None:
            return flat.astype(np.float32, copy=False)
        members, features = self._means.shape
        by_member = flat.reshape(members, -1, features)
        rows = np.arange(members)
        seen = [self._see(rows, by_member[:, i]) for i in range(by_member.shape[1])]
        return np.stack(seen, axis=1).reshape(flat.shape)

    def normalised(self, members: Array, observations: Array) -> Array:
        """Returns observations normalised by their members' statistics, which stay as they are.

        Args:
            members: Index of the member that each observation belongs to.
            observations: An array of shape (observations, *shape).

        Returns:
            An array of shape (observations, features), float32.
        """
        seen = _flat(observations)
        if self._connector is None:
            return seen.astype(np.float32, copy=False)
        return self._normalise(
            self._counts[members, None], self._means[members], self._squares[members], seen
        )

    def restart(self, member: int) -> None:
        """Forgets what a member has seen."""
        self._counts[member] = 0
        self._means[member] = self._squares[member] = 0.0

    def state(self, member: int) -> dict[Any, Any]:
        """A member's statistics, as RLlib's connector gives its state; {} without a filter."""
        connector = self._connector
        if connector is None:
            return {}
        statistics = RunningStat(self._shape)
        statistics.num_pushes = int(self._counts[member])
        statistics.mean_array = self._means[member].reshape(self._shape).copy()
        statistics.sum_sq_diff_array = self._squares[member].reshape(self._shape).copy()
        return {
            None: {
                "shape": np.array(self._shape),
                "de_mean_to_zero": connector.de_mean_to_zero,
                "de_std_to_one": connector.de_std_to_one,
                "clip_by_value": connector.clip_by_value,
                "running_stats": [statistics.to_state()],
            }
        }

    def load(self, member: int, state: dict[Any, Any]) -> None:
        """Takes over what `state` gave, of this or another member."""
        self.restart(member)
        if self._connector is None or not state:
            return
        statistics = RunningStat.from_state(state[None]["running_stats"][0])
        self._counts[member] = statistics.num_pushes
        self._means[member] = statistics.mean_array.reshape(-1)
        self._squares[member] = statistics.sum_sq_diff_array.reshape(-1)

    def _see(self, rows: Array, values: Array) -> Array:
        """One observation of each of some members: Welford's update, then normalisation."""
        self._counts[rows] += 1
        counts = self._counts[rows, None]
        change = values - self._means[rows]
        # RLlib sets the first mean to the value itself.
        means = np.where(counts == 1, values, self._means[rows] + change / counts)
        squares = self._squares[rows] + np.where(counts == 1, 0.0, change * (values - means))
        self._means[rows], self._squares[rows] = means, squares
        return self._normalise(counts, means, squares, values)

    def _normalise(self, counts: Array, means: Array, squares: Array, values: Array) -> Array:
        connector = self._connector
        assert connector is not None
        normalised: Array = values
        if connector.de_mean_to_zero:
            normalised = normalised - means
        if connector.de_std_to_one:
            variance = (squares / np.maximum(counts - 1, 1)).astype(np.float32)
            normalised = normalised / (np.sqrt(np.maximum(0, variance)) + SMALL_NUMBER)
        if connector.clip_by_value:
            normalised = np.clip(normalised, -connector.clip_by_value, connector.clip_by_value)
        return normalised.astype(np.float32)


def _flat(observations: Array) -> Array:
    """Observations as rows, as precise as they come: what is far from 0 may vary by little."""
    return observations.reshape(len(observations), math.prod(observations.shape[1:]))


def filter_among(connectors: list[Any]) -> tuple[MeanStdFilter | None, int]:
    """The filter and the stacking of frames that a configuration adds to RLlib's own connectors.

    Args:
        connectors: Connectors that the configuration adds.

    Returns:
        The filter, None where none is added, and how many frames are stacked.

    Raises:
        ConfigError: Something else is added, such as a filter that doesn't learn (`update_stats=False`),
            or the two come in the other order.
    """
    names = [
        type(c).__name__ + ("" if getattr(c, "_update_stats", True) else "(update_stats=False)")
        for c in connectors
    ]
    left = list(connectors)
    found = left.pop(0) if left and _is_plain(left[0]) else None
    frames = left.pop(0).num_frames if left and type(left[0]) is StackFrames else 1
    if left:
        raise ConfigError(
            f"env_to_module_connector adds {', '.join(names)}: members of a pack know one MeanStdFilter "
            "only, that of one agent, which learns, and frame_stack after it. Use the rllib engine."
        )
    return found, frames


def _is_plain(connector: Any) -> bool:
    return bool(
        type(connector) is MeanStdFilter and not connector._multi_agent and connector._update_stats
    )
