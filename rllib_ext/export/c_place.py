"""The parts of a C file written so far, and the context of one node in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rllib_ext.export.c_matrix import product
from rllib_ext.export.c_text import (
    Numbers,
)
from rllib_ext.export.operations import Gru, Lstm, Operation, Shape
from rllib_ext.export.program import Node

# Within 4e-7 of tanh, in a form that compilers can do several at once: the rational approximation that
# Eigen uses (generic_fast_tanh_float); libm's takes some ten times as long. Of NaN it makes
# −1 or 1: a mask that lets it through takes a small policy 3 to 11 % longer. `policy.json` says so.

FAST_TANH = """static inline float fast_tanh(float x) {
    union { float f; uint32_t u; } b; /* Whole numbers: compilers branch where floats are compared. */
    b.f = x;
    const uint32_t size = b.u & 0x7FFFFFFFu;
    b.u = (b.u & 0x80000000u) | (size < 0x40FCF84Fu ? size : 0x40FCF84Fu); /* 7.905311 */
    x = b.f;
    const float s = x * x;
    const float p = ((((((-2.76076847742355e-16f * s + 2.00018790482477e-13f) * s
        - 8.60467152213735e-11f) * s + 5.12229709037114e-08f) * s + 1.48572235717979e-05f) * s
        + 6.37261928875436e-04f) * s + 4.89352455891786e-03f) * x;
    const float q = ((1.19825839466702e-06f * s + 1.18534705686654e-04f) * s + 2.26843463243900e-03f) * s
        + 4.89352518554385e-03f;
    return p / q;
}
"""


@dataclasses.dataclass
class Written:
    """The parts of a C file written so far.

    Attributes:
        numbers: Number format of the computation.
        tables: Constants, at the file's level.
        kinds: Form of each matrix.
        functions: Functions that the code calls, except those of math.h.
    """

    numbers: Numbers
    tables: list[str] = dataclasses.field(default_factory=list)
    kinds: list[str] = dataclasses.field(default_factory=list)
    functions: set[str] = dataclasses.field(default_factory=set)

    def tanh(self, value: str) -> str:
        """The hyperbolic tangent of a value."""
        if self.numbers.real == "double":
            return f"tanh({value})"
        self.functions.add(FAST_TANH)
        return f"fast_tanh({value})"

    def sigmoid(self, value: str) -> str:
        """1 / (1 + exp(−value))."""
        half = self.numbers.literal(0.5)
        return f"({half} + {half} * {self.tanh(f'{half} * ({value})')})"

    def multiply(self, name: str, matrix: Any, bias: Any, source: str, target: str) -> str:
        """Statements for target = bias + matrix × source."""
        found = product(self.numbers, name, matrix, bias, source, target)
        self.tables.append(found.tables)
        self.kinds.append(found.kind)
        return found.code


@dataclasses.dataclass(frozen=True)
class Place:
    """The context of a node that is to be written.

    Attributes:
        name: Prefix of its tables.
        node: Itself.
        shapes: The shapes of its inputs.
        sources: Locations of its inputs.
        target: Location of its values.
        spare: Memory of its own that it may use, of the size that `spare_size` says.
    """

    name: str
    node: Node
    shapes: Sequence[Shape]
    sources: Sequence[str]
    target: str
    spare: str


def spare_size(operation: Operation) -> int:
    """Returns how many real numbers of scratch memory an operation needs."""
    if isinstance(operation, Lstm):
        return 2 * len(operation.bias)
    return 2 * len(operation.bias) if isinstance(operation, Gru) else 0
