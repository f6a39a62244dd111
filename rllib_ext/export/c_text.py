"""Pieces of C99: numbers, tables, loops, and where a node's values lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rllib_ext.export.operations import Array, Shape

# How numbers are computed: C's type, suffix of literals and of functions of math.h, numpy's type.
REALS = {"float": ("float", "f", np.float32), "double": ("double", "", np.float64)}
_WHOLE = {"int8": "int8_t", "uint8": "uint8_t", "uint16": "uint16_t", "int32": "int32_t"}
PER_LINE = 8


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The number format of an export's computation.

    Attributes:
        real: "float" or "double".
        int8: Whether weights of layers are 8-bit whole numbers with a scale for each row.
    """

    real: str = "float"
    int8: bool = False

    @property
    def suffix(self) -> str:
        """The suffix of literals and of functions in math.h."""
        return REALS[self.real][1]

    @property
    def bytes(self) -> int:
        """Bytes per real number."""
        return 4 if self.real == "float" else 8

    def literal(self, value: float) -> str:
        """A number as C reads it back exactly."""
        if math.isinf(value) or abs(value) >= 3.4e38:
            limit = "FLT_MAX" if self.real == "float" else "DBL_MAX"
            return f"-{limit}" if value < 0 else limit
        if self.real == "float":
            text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
            short = repr(float(f"{np.float32(value):.9g}"))
            text = short if len(short) <= len(text) else text
        else:
            text = repr(float(value))
        return text + self.suffix


FLOAT = Numbers()


def table(type_: str, name: str, values: Iterable[object]) -> str:
    """A constant array, some values a line; a 0 where there are none: C has no empty array."""
    words = [str(value) for value in values] or ["0"]
    lines = ["    " + ", ".join(words[i : i + PER_LINE]) for i in range(0, len(words), PER_LINE)]
    return f"static const {type_} {name}[{len(words)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def whole_type(largest: int, *, signed: bool = False) -> str:
    """The smallest type that holds whole numbers up to a size."""
    if signed:
        return _WHOLE["int32"]
    return _WHOLE["uint8"] if largest < 256 else _WHOLE["uint16"] if largest < 65536 else "int32_t"


def size_of(type_: str) -> int:
    """Bytes of a type."""
    return {"float": 4, "double": 8, "int8_t": 1, "uint8_t": 1, "uint16_t": 2, "int32_t": 4}[type_]


def nested(shape: Shape, body: Callable[[Sequence[str]], str]) -> str:
    """Loops over all positions of a shape; axes of size 1 have none.

    Args:
        shape: The shape.
        body: Statements, given an index for each axis.
    """
    names = ["0" if size == 1 else f"i{axis}" for axis, size in enumerate(shape)]
    opened, indent = "", "    "
    for name, size in zip(names, shape, strict=True):
        if size != 1:
            opened += f"{indent}for (int {name} = 0; {name} < {size}; {name}++) {{\n"
            indent += "    "
    text = opened + "".join(f"{indent}{line}\n" for line in body(names).splitlines())
    while len(indent) > 4:
        indent = indent[4:]
        text += indent + "}\n"
    return text


def at(indices: Sequence[str], strides: Sequence[int], offset: int = 0) -> str:
    """A position in memory, from an index for each axis."""
    words = [
        index if stride == 1 else f"{index} * {stride}"
        for index, stride in zip(indices, strides, strict=True)
        if index != "0" and stride
    ]
    if offset or not words:
        words.append(str(offset))
    return " + ".join(words)


def strides(shape: Shape) -> tuple[int, ...]:
    """Returns the strides of a shape in row-major order, in elements."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def size(shape: Shape) -> int:
    """Returns the number of elements of a shape."""
    return int(np.prod(shape))


def reals(numbers: Numbers, values: Array) -> list[str]:
    """Literals of an array, row by row."""
    return [numbers.literal(float(value)) for value in np.asarray(values).ravel()]
