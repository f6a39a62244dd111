"""Stacked frames of many environments: what `StackFrames` writes into RLlib's episodes."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Frames:
    """The last frames of each of some environments, the oldest first, zeros before an episode's start.

    Args:
        count: Number of stacked frames.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def first(self, frames: Array) -> Array:
        """Returns the stacked observations at the start of episodes.

        Args:
            frames: An array of shape (environments, features).

        Returns:
            An array of shape (environments, count · features).
        """
        if self.count == 1:
            return frames
        before = np.zeros((len(frames), frames.shape[1] * (self.count - 1)), dtype=frames.dtype)
        return np.concatenate([before, frames], axis=1)

    def following(self, seen: Array, frames: Array) -> Array:
        """Returns the next stacked observations.

        Args:
            seen: Previous stacked observations, shape (environments, count · features).
            frames: The latest of each, of shape (environments, features).
        """
        if self.count == 1:
            return frames
        return np.concatenate([seen[:, frames.shape[1] :], frames], axis=1)
