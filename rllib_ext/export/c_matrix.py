"""A matrix times a vector in C99: term by term, over what is not zero, or over all in long loops."""

from __future__ import annotations

import dataclasses

import numpy as np

from rllib_ext.export.c_text import Numbers, reals, size_of, table, whole_type
from rllib_ext.export.operations import Array
from rllib_ext.export.quantise import quantised

# So many terms are written out one by one: no table, no loop, and constants in the code.
WRITTEN_OUT = 64
# What the loops of the sparse form take more than those of the dense one, in bytes of code.
_SPARSE_LOOP = 24
# Inputs that the dense form takes at once.
BLOCK = 4


@dataclasses.dataclass(frozen=True)
class Product:
    """Code for bias + matrix × vector.

    Attributes:
        tables: Constants, at the file's level.
        code: Statements.
        kind: "written out", "sparse" or "dense".
    """

    tables: str
    code: str
    kind: str


def product(
    numbers: Numbers, name: str, matrix: Array, bias: Array, source: str, target: str
) -> Product:
    """Returns code for target = bias + matrix × source.

    Args:
        numbers: Number format of the computation.
        name: Name of the layer's tables.
        matrix: (rows, columns).
        bias: (rows,).
        source: Name of the vector.
        target: Name of the result; another one than `source`.
    """
    kept = int(np.count_nonzero(matrix))
    if kept <= WRITTEN_OUT and not numbers.int8:
        return Product("", _written_out(numbers, matrix, bias, source, target), "written out")
    rows, columns = matrix.shape
    weight = 1 if numbers.int8 else numbers.bytes
    index = size_of(whole_type(columns))
    ends = size_of(whole_type(kept)) * rows
    if kept * (weight + index) + ends + _SPARSE_LOOP < rows * columns * weight:
        return _sparse(numbers, name, matrix, bias, source, target)
    return _dense(numbers, name, matrix, bias, source, target)


def _written_out(numbers: Numbers, matrix: Array, bias: Array, source: str, target: str) -> str:
    lines = []
    for i, row in enumerate(matrix):
        terms = [f"{numbers.literal(row[j])} * {source}[{j}]" for j in np.flatnonzero(row)]
        if bias[i] != 0 or not terms:
            terms.insert(0, numbers.literal(bias[i]))
        lines.append(f"    {target}[{i}] = " + "\n        + ".join(terms) + ";\n")
    return "".join(lines)


def _values(numbers: Numbers, name: str, matrix: Array, order: Array) -> tuple[str, str, str]:
    """The table of a matrix's values in an order, the scales' table, and how a value is read."""
    if not numbers.int8:
        flat = matrix.ravel()[order]
        return table(numbers.real, f"{name}_w", reals(numbers, flat)), "", ""
    whole, scale = quantised(matrix)
    return (
        table("int8_t", f"{name}_w", whole.ravel()[order]),
        table(numbers.real, f"{name}_s", reals(numbers, scale)),
        f"({numbers.real})",
    )


def _bias(numbers: Numbers, name: str, bias: Array) -> str:
    return table(numbers.real, f"{name}_b", reals(numbers, bias)) if bias.any() else ""


def _sparse(
    numbers: Numbers, name: str, matrix: Array, bias: Array, source: str, target: str
) -> Product:
    rows, columns = matrix.shape
    if numbers.int8:
        # What rounds to nothing needs no place.
        matrix = np.where(quantised(matrix)[0] == 0, 0, matrix).astype(matrix.dtype)
    order = np.flatnonzero(matrix.ravel())
    ends = np.cumsum(np.count_nonzero(matrix, axis=1))
    values, scales, cast = _values(numbers, name, matrix, order)
    tables = values + scales + _bias(numbers, name, bias)
    tables += table(whole_type(columns - 1), f"{name}_i", order % columns)
    tables += table(whole_type(int(ends[-1]) if len(ends) else 0), f"{name}_e", ends)
    start = f"{name}_b[i]" if bias.any() else numbers.literal(0.0)
    end = "sum"
    if numbers.int8:
        start, end = numbers.literal(0.0), f"sum * {name}_s[i]"
        end += f" + {name}_b[i]" if bias.any() else ""
    code = (
        f"    for (int i = 0, k = 0; i < {rows}; i++) {{\n"
        f"        {numbers.real} sum = {start};\n"
        f"        for (; k < (int){name}_e[i]; k++)\n"
        f"            sum += {cast}{name}_w[k] * {source}[{name}_i[k]];\n"
        f"        {target}[i] = {end};\n"
        f"    }}\n"
    )
    return Product(tables, code, "sparse")


def _dense(
    numbers: Numbers, name: str, matrix: Array, bias: Array, source: str, target: str
) -> Product:
    rows, columns = matrix.shape
    # Column by column: the inner loop then runs over outputs, which a compiler can do several at once.
    order = np.arange(rows * columns).reshape(rows, columns).T.ravel()
    values, scales, cast = _values(numbers, name, matrix, order)
    tables = values + scales + _bias(numbers, name, bias)
    real = numbers.real
    start = f"{name}_b[i]" if bias.any() and not numbers.int8 else numbers.literal(0.0)
    code = f"    for (int i = 0; i < {rows}; i++) {target}[i] = {start};\n"
    whole = columns - columns % BLOCK
    if whole:
        taken = ", ".join(
            f"x{k} = {source}[j + {k}]" if k else f"x0 = {source}[j]" for k in range(BLOCK)
        )
        terms = " + ".join(
            f"{cast}w[i + {k * rows}] * x{k}" if k else f"{cast}w[i] * x0" for k in range(BLOCK)
        )
        type_ = "int8_t" if numbers.int8 else real
        code += (
            f"    for (int j = 0; j < {whole}; j += {BLOCK}) {{\n"
            f"        const {type_} *w = {name}_w + j * {rows};\n"
            f"        const {real} {taken};\n"
            f"        for (int i = 0; i < {rows}; i++) {target}[i] += {terms};\n"
            f"    }}\n"
        )
    for j in range(whole, columns):
        code += (
            f"    for (int i = 0; i < {rows}; i++) "
            f"{target}[i] += {cast}{name}_w[i + {j * rows}] * {source}[{j}];\n"
        )
    if numbers.int8:
        end = f"{target}[i] * {name}_s[i]" + (f" + {name}_b[i]" if bias.any() else "")
        code += f"    for (int i = 0; i < {rows}; i++) {target}[i] = {end};\n"
    return Product(tables, code, "dense")
