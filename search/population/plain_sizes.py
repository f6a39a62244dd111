"""The possible sizes of plain policies: small dense networks, linear ones, trees. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from search.config.baseline_kinds import Kind

# A larger tree is no policy that a person reads.
MOST_LEAVES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainSizes:
    """The sizes of plain policies in one environment.

    Attributes:
        layers: Outputs and inputs of each layer of the searched network, from observation to action;
            none where it is no chain of linear layers.
        linear: Weights of a linear policy that reads all inputs.
        leaf: Numbers that a leaf of a tree holds: 1 for one of several actions, else an action's length.
        refused: By kind, why the environment or the network has no such policy.
    """

    layers: tuple[tuple[int, int], ...] = ()
    linear: int = 1
    leaf: int = 1
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def size(self, kind: Kind, weights: int) -> int:
        """Returns the true size of the baseline of a kind that is compared with a number of weights.

        Args:
            kind: Kind of baseline that isn't refused.
            weights: Non-zero weights of a front's point.

        Returns:
            Weights; of a tree, numbers: a threshold an inner node, and what its leaves hold. No more
            than `weights`, but for the smallest network or tree that there is.
        """
        if kind == "small_dense":
            return weights_of(self.layers, narrowed(self.layers, weights))
        if kind == "linear":
            return max(1, min(self.linear, weights))
        if kind == "tree":
            return numbers_of(leaves_within(weights, self.leaf), self.leaf)
        return weights


def narrowed(layers: Sequence[tuple[int, int]], weights: int) -> list[int]:
    """Widths of hidden layers that leave a network at most so many weights.

    All shrink by the same factor.

    Args:
        layers: Outputs and inputs of each layer.
        weights: Weights, biases apart.

    Returns:
        Units of each hidden layer: those of the largest network that fits, or one each.
    """
    hidden = [outputs for outputs, _ in layers[:-1]]
    fitting = [1] * len(hidden)
    for k in range(1, max(hidden) + 1):
        tried = [max(1, round(width * k / max(hidden))) for width in hidden]
        if weights_of(layers, tried) <= weights:
            fitting = tried
    return fitting


def weights_of(layers: Sequence[tuple[int, int]], widths: Sequence[int]) -> int:
    """Weights of a network whose hidden layers have other widths, biases apart."""
    units = [layers[0][1], *widths, layers[-1][0]]
    return sum(a * b for a, b in itertools.pairwise(units))


def leaves_within(numbers: int, leaf: int) -> int:
    """Leaves of the largest binary tree that holds at most so many numbers; at least 2.

    Args:
        numbers: Thresholds of inner nodes, and what leaves hold.
        leaf: Numbers that a leaf holds.
    """
    return min(MOST_LEAVES, max(2, (numbers + 1) // (leaf + 1)))


def numbers_of(leaves: int, leaf: int) -> int:
    """Numbers that a binary tree holds: a threshold an inner node, and what its leaves hold."""
    return leaves - 1 + leaves * leaf
