"""A binary decision tree in arrays: what it answers, and what it takes. Pure NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LEAF = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    """A binary tree of thresholds; node 0 is its root.

    Attributes:
        inputs: By node, which input is compared; `LEAF` in a leaf.
        thresholds: By node; what is not above it goes left. float32.
        left: By node, the node on the left; 0 in a leaf.
        right: By node, the node on the right; 0 in a leaf.
        answers: Values of leaves, shape (nodes, numbers): the action's number, or the action.
        discrete: Whether a leaf holds one of several actions.
    """

    inputs: Array
    thresholds: Array
    left: Array
    right: Array
    answers: Array
    discrete: bool

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int((self.inputs == LEAF).sum())

    @property
    def nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.inputs)

    @property
    def numbers(self) -> int:
        """Thresholds of inner nodes, and what leaves hold."""
        return self.nodes - self.leaves + self.leaves * int(self.answers.shape[1])

    @property
    def bytes(self) -> int:
        """Bytes of flash, without the few instructions of the loop that walks the tree.

        An inner node: which input (one byte up to 255 inputs, else two), a threshold (four bytes), and
        where the node on the right is (one byte up to 255 nodes, else two); the one on the left follows.
        A leaf: one byte that says so, and an action's number (one byte) or the action (four bytes a
        number).
        """
        inner = self.nodes - self.leaves
        index = 1 if self.inputs.max(initial=0) < 255 else 2
        offset = 1 if self.nodes <= 255 else 2
        held = 1 if self.discrete else 4 * self.answers.shape[1]
        return inner * (index + 4 + offset) + self.leaves * (index + held)

    def __call__(self, observations: Array) -> Array:
        """Answers to observations of shape (steps, inputs), of shape (steps, numbers)."""
        rows = np.arange(len(observations))
        at = np.zeros(len(observations), dtype=np.int64)
        while bool((self.inputs[at] != LEAF).any()):
            # A leaf's own place in `left` and `right` is not read.
            values = observations[rows, np.maximum(self.inputs[at], 0)]
            below = np.where(values <= self.thresholds[at], self.left[at], self.right[at])
            at = np.where(self.inputs[at] == LEAF, at, below)
        found: Array = self.answers[at]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        whole = {n: np.asarray(values[n], dtype=np.int64) for n in ("inputs", "left", "right")}
        real = {n: np.asarray(values[n], dtype=np.float32) for n in ("thresholds", "answers")}
        return cls(**whole, **real, discrete=bool(values["discrete"]))
