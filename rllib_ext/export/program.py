"""A policy's computation, independent of any framework: one decision as a list of operations.

Shapes leave the batch out; every form of an export adds it as its first axis, or has none.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rllib_ext.export.operations import (
    Array,
    Conv,
    Dense,
    Gru,
    Input,
    Lstm,
    Operation,
    Path,
    Shape,
    State,
    arrays_of,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """An operation at its place in a program.

    Attributes:
        operation: Operation that computes its values.
        inputs: Numbers of the nodes that it reads, all smaller than its own.
        shape: The result's shape, without a batch.
        dtype: "float32", "int64", or what an observation's space says, such as "uint8".
    """

    operation: Operation
    inputs: tuple[int, ...]
    shape: Shape
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """A part of the observation, or noise.

    Attributes:
        name: The name of the `Input`.
        path: Path in the observation; empty for noise.
        noise: Kind of noise: "uniform" in [0, 1) or "normal"; empty for an observation.
    """

    name: str
    path: Path
    noise: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Carried:
    """State that is carried from one decision to the next.

    Attributes:
        name: The name of the `State`.
        source: Number of the `State` node.
        update: Number of the node that holds it after the decision.
        initial: Its value before the first decision.
    """

    name: str
    source: int
    update: int
    initial: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A result of a decision: a part of the action, or of the action's distribution.

    Attributes:
        name: Unique among results, such as "action" or "logits".
        node: Its number.
        path: Path of a part of the action; None for parameters of a distribution.
        dtype: numpy's name of what the environment takes.
    """

    name: str
    node: int
    path: Path | None
    dtype: str

    @property
    def is_action(self) -> bool:
        """Whether it is a part of the action."""
        return self.path is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One decision: raw observation (and noise, and state) in, action (and state) out.

    Attributes:
        nodes: In order of computation.
        given: Inputs, in the order of its `Input` nodes.
        carried: Its state; empty without one.
        results: Results, the action's parts first.
        notes: Sentences about what was folded into it, in order.
    """

    nodes: tuple[Node, ...]
    given: tuple[Given, ...]
    carried: tuple[Carried, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, int]:
        """The node of each input and state, by its name."""
        return {
            node.operation.name: number
            for number, node in enumerate(self.nodes)
            if isinstance(node.operation, Input | State)
        }

    @property
    def weights(self) -> int:
        """Elements of layers and biases that are not zero."""
        return sum(
            int(np.count_nonzero(array))
            for node in self.nodes
            if isinstance(node.operation, Dense | Conv | Lstm | Gru)
            for array in arrays_of(node.operation).values()
        )

    @property
    def parameters(self) -> int:
        """Elements of layers and biases, zeros too."""
        return sum(
            array.size
            for node in self.nodes
            if isinstance(node.operation, Dense | Conv | Lstm | Gru)
            for array in arrays_of(node.operation).values()
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one decision, those with a pruned weight left out."""
        return sum(uses * int(np.count_nonzero(matrix)) for uses, matrix in self._matrices())

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of one decision, those with a pruned weight too."""
        return sum(uses * matrix.size for uses, matrix in self._matrices())

    def _matrices(self) -> list[tuple[int, Array]]:
        """Matrices and how often a decision uses each of their weights."""
        return [
            (_uses(node), matrix)
            for node in self.nodes
            for name, matrix in arrays_of(node.operation).items()
            if name in ("weight", "recurrent")
        ]


def _uses(node: Node) -> int:
    """Returns how often a decision uses each weight of a layer."""
    if isinstance(node.operation, Conv):
        return int(np.prod(node.shape[1:]))
    return int(np.prod(node.shape[:-1])) if isinstance(node.operation, Dense) else 1
