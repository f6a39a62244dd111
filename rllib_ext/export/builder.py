"""Programs, built node by node: shapes are found by doing, constants are folded on the way."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from rllib_ext.export.numpy_loader import OPERATIONS as RUN
from rllib_ext.export.operations import (
    Array,
    Binary,
    Constant,
    Input,
    Operation,
    Path,
    Permute,
    Reshape,
    Shape,
    State,
    Take,
    ToFloat,
)
from rllib_ext.export.program import Carried, Given, Node, Program, Result

FLOAT = "float32"


class Builder:
    """Grows a program; nodes are known by their numbers."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.notes: list[str] = []
        self._given: list[Given] = []
        self._carried: dict[str, tuple[int, Array]] = {}
        self._updates: dict[str, int] = {}
        self._results: list[Result] = []
        self._names: set[str] = set()

    def shape(self, node: int) -> Shape:
        """A node's shape, without a batch."""
        return self.nodes[node].shape

    def name(self, kind: str, path: Path) -> str:
        """Returns a unique name for the part at a path, valid in C: letters, digits and _.

        Args:
            kind: Such as "observation"; letters.
            path: Path of the part; keys of dicts may be any text.
        """
        plain = re.sub(r"\W", "_", "_".join([kind, *map(str, path)]), flags=re.ASCII)
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name)
        return name

    def given(self, name: str, path: Path, shape: Shape, dtype: str, noise: str = "") -> int:
        """Something that comes in at each decision; arguments as `Given` and `Node`."""
        self._given.append(Given(name=name, path=path, noise=noise))
        return self._append(Input(name=name), (), shape, dtype)

    def state(self, name: str, initial: Array) -> int:
        """Something that the decision before left; `update` says what the next one finds."""
        initial = np.asarray(initial, np.float32)
        number = self._append(State(name=name), (), initial.shape, FLOAT)
        self._carried[name] = (number, initial)
        return number

    def update(self, name: str, node: int) -> None:
        """Says which node holds a state after the decision."""
        self._updates[name] = node

    def result(self, name: str, node: int, dtype: str, path: Path | None = None) -> None:
        """Something that comes out; arguments as `Result`."""
        self._results.append(Result(name=name, node=node, path=path, dtype=dtype))

    def constant(self, value: Array) -> int:
        """The same value at each decision."""
        kind = FLOAT if np.issubdtype(value.dtype, np.floating) else "int64"
        value = np.array(value, kind, order="C")
        return self._append(Constant(value=value), (), value.shape, kind)

    def add(self, operation: Operation, *inputs: int) -> int:
        """An operation on earlier nodes; what changes nothing, or is always the same, is no node."""
        nodes = [self.nodes[number] for number in inputs]
        if _changes_nothing(operation, nodes):
            return inputs[0]
        fixed = [n.operation for n in nodes]
        if isinstance(operation, Binary) and operation.kind == "mul":
            for kept, factor in ((0, 1), (1, 0)):
                if _is_one(nodes[factor]) and len(nodes[factor].shape) <= len(nodes[kept].shape):
                    return inputs[kept]
        examples = [
            o.value[None] if isinstance(o, Constant) else np.zeros((1, *n.shape), n.dtype)
            for n, o in zip(nodes, fixed, strict=True)
        ]
        values = {f.name: getattr(operation, f.name) for f in dataclasses.fields(operation)}
        with np.errstate(all="ignore"):
            example = RUN[type(operation).__name__.lower()](values, *examples)
        if all(isinstance(o, Constant) for o in fixed):
            return self.constant(example[0])
        kind = str(example.dtype)
        if np.issubdtype(example.dtype, np.floating):
            kind = FLOAT
        return self._append(operation, inputs, example.shape[1:], kind)

    def real(self, node: int) -> int:
        """A node as real numbers."""
        return node if self.nodes[node].dtype == FLOAT else self.add(ToFloat(), node)

    def flat(self, node: int) -> int:
        """A node along one axis."""
        return self.add(Reshape(shape=(int(np.prod(self.shape(node))),)), node)

    def part(self, node: int, axis: int, start: int, stop: int, step: int = 1) -> int:
        """A stretch of an axis."""
        return self.add(Take(axis=axis, indices=np.arange(start, stop, step)), node)

    def program(self) -> Program:
        """All that a result or a state needs, in order."""
        needed: set[int] = set()
        carried = dict(self._carried)
        ends = [r.node for r in self._results]
        while True:
            _collect(self.nodes, ends, needed)
            more = [
                self._updates[n] for n, (i, _) in carried.items()
                if i in needed and self._updates[n] not in needed
            ]  # fmt: skip
            if not more:
                break
            ends = more
        needed |= {n for n, node in enumerate(self.nodes) if isinstance(node.operation, Input)}
        order = sorted(needed)
        place = {old: new for new, old in enumerate(order)}
        return Program(
            nodes=tuple(
                dataclasses.replace(
                    self.nodes[old], inputs=tuple(place[i] for i in self.nodes[old].inputs)
                )
                for old in order
            ),
            given=tuple(self._given),
            carried=tuple(
                Carried(
                    name=name,
                    source=place[number],
                    update=place[self._updates[name]],
                    initial=initial,
                )
                for name, (number, initial) in carried.items()
                if number in needed
            ),
            results=tuple(dataclasses.replace(r, node=place[r.node]) for r in self._results),
            notes=tuple(self.notes),
        )

    def _append(self, operation: Operation, inputs: Sequence[int], shape: Shape, dtype: str) -> int:
        self.nodes.append(
            Node(operation=operation, inputs=tuple(inputs), shape=tuple(shape), dtype=dtype)
        )
        return len(self.nodes) - 1


def _changes_nothing(operation: Operation, nodes: Sequence[Node]) -> bool:
    shape = nodes[0].shape if nodes else ()
    if isinstance(operation, Reshape):
        return operation.shape == shape
    if isinstance(operation, Permute):
        return operation.order == tuple(range(len(shape)))
    if isinstance(operation, Take):
        return np.array_equal(operation.indices, np.arange(shape[operation.axis]))
    return isinstance(operation, ToFloat) and nodes[0].dtype == FLOAT


def _is_one(node: Node) -> bool:
    """Whether a factor changes nothing, and no shape either."""
    operation = node.operation
    return isinstance(operation, Constant) and operation.value.shape == () and operation.value == 1


def _collect(nodes: Sequence[Node], ends: Sequence[int], needed: set[int]) -> None:
    waiting = list(ends)
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += nodes[number].inputs
