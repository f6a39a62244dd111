"""Validates programs read from files: names, kinds, numbers and shapes.

C is written from a program and then runs: nothing in it may be text that somebody else chose, and no
index may leave its array.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from rllib_ext.export.numpy_loader import OPERATIONS as RUN
from rllib_ext.export.operations import (
    BINARY,
    UNARY,
    Array,
    Binary,
    Conv,
    Dense,
    Gru,
    Input,
    Lstm,
    Normalise,
    Operation,
    Pool,
    Reduce,
    State,
    Unary,
    arrays_of,
)
from rllib_ext.export.program import Program

REDUCTIONS = ("sum", "mean", "max")
_KINDS: dict[type[Operation], tuple[str, ...]] = {
    Unary: UNARY,
    Binary: BINARY,
    Reduce: REDUCTIONS,
    Pool: ("max", "mean"),
}
_DTYPES = ("float32", "int64", "uint8")
_RESULT = re.compile(r"(float|int|uint)(8|16|32|64)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def attribute(kind: type[Operation], field: dataclasses.Field[Any], value: Any) -> Any:
    """Returns a validated attribute of an operation.

    Args:
        kind: The operation.
        field: The attribute.
        value: Value read from the file.

    Raises:
        ValueError: It is something else.
    """
    if field.type == "Array":
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise ValueError(f"{field.name} of {kind.__name__} is no array of numbers")
        return value
    if field.type == "str":
        allowed = _KINDS.get(kind)
        if (value not in allowed) if allowed else not _NAME.fullmatch(str(value)):
            raise ValueError(f"{field.name} of {kind.__name__} is {str(value)[:40]!r}")
        return str(value)
    if field.type == "float":
        return float(value)
    if field.type == "int":
        return _whole(value)
    return tuple(_whole(part) for part in value)


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return value


def require_sound(program: Program) -> None:
    """Refuses a program whose parts don't fit each other.

    Raises:
        ValueError: Says which.
    """
    numbers = range(len(program.nodes))
    for number, node in enumerate(program.nodes):
        if node.dtype not in _DTYPES or any(i not in numbers[:number] for i in node.inputs):
            raise ValueError(f"node {number} reads what comes later, or holds {node.dtype!r}")
        if isinstance(node.operation, Input | State):
            continue
        _require_rows(node.operation)
        _require_forward(node.operation)
        sources = [program.nodes[i] for i in node.inputs]
        examples = [np.zeros((1, *s.shape), s.dtype) for s in sources]
        values = {
            f.name: getattr(node.operation, f.name) for f in dataclasses.fields(node.operation)
        }
        with np.errstate(all="ignore"):
            found = RUN[type(node.operation).__name__.lower()](values, *examples)
        real = np.issubdtype(found.dtype, np.floating)
        if found.shape[1:] != node.shape or real != (node.dtype == "float32"):
            raise ValueError(f"node {number} gives {found.shape[1:]}, not {node.shape}")
        if isinstance(node.operation, Normalise) and (
            node.operation.mean.shape != node.shape or node.operation.scale.shape != node.shape
        ):
            raise ValueError(f"node {number} has a filter of another shape")
    incoming = [part.name for part in program.given] + [part.name for part in program.carried]
    for name in (*incoming, *(part.name for part in program.results)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"something is called {name[:40]!r}")
    for carried in program.carried:
        shapes = {program.nodes[i].shape for i in (carried.source, carried.update)}
        if shapes != {carried.initial.shape}:
            raise ValueError(f"{carried.name} changes its shape")
    for result in program.results:
        if result.node not in numbers or not _RESULT.fullmatch(result.dtype):
            raise ValueError(f"{result.name} is no result")
    if set(incoming) != set(program.numbers):
        raise ValueError("what comes in is not what is read")


def _require_forward(operation: Operation) -> None:
    """Windows that move forward: backward ones, and those of no size, leave their array in C."""
    if not isinstance(operation, Conv | Pool):
        return
    moves = operation.stride
    if isinstance(operation, Conv):
        moves += (*operation.dilation, operation.groups)
    else:
        moves += operation.size
    if any(move < 1 for move in moves):
        raise ValueError(f"a {type(operation).__name__} moves by less than 1")


def _require_rows(operation: Operation) -> None:
    """Layers whose parts have as many rows as each other."""
    if not isinstance(operation, Dense | Conv | Lstm | Gru):
        return
    arrays: dict[str, Array] = dict(arrays_of(operation))
    rows = {len(array) if array.ndim else 0 for array in arrays.values()}
    vectors = [a for name, a in arrays.items() if "bias" in name]
    if len(rows) != 1 or any(v.ndim != 1 for v in vectors):
        raise ValueError(f"the parts of a {type(operation).__name__} don't fit")
