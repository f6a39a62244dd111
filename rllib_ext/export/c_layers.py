"""Layers in C: linear, convolutional and recurrent ones, and pooling."""

from __future__ import annotations

import numpy as np

from rllib_ext.export.c_place import Place, Written
from rllib_ext.export.c_text import (
    reals,
    size,
    table,
    whole_type,
)
from rllib_ext.export.operations import Conv, Dense, Gru, Lstm, Pool
from rllib_ext.export.quantise import quantised


def write_dense(out: Written, p: Place, o: Dense) -> str:
    """Statements for a linear layer, row by row of what lies before its last axis."""
    rows = size(p.node.shape[:-1])
    if rows == 1:
        return out.multiply(p.name, o.weight, o.bias, p.sources[0], p.target)
    outputs, inputs = o.weight.shape
    inner = out.multiply(p.name, o.weight, o.bias, "x", "y")
    inside = "".join(f"    {line}\n" for line in inner.splitlines())
    real = out.numbers.real
    return (
        f"    for (int r = 0; r < {rows}; r++) {{\n"
        f"        const {real} *x = {p.sources[0]} + r * {inputs};\n"
        f"        {real} *y = {p.target} + r * {outputs};\n{inside}    }}\n"
    )


def write_conv(out: Written, p: Place, o: Conv) -> str:
    """Weight by weight over the whole picture: pruned weights take no time. The input is padded."""
    n, real = out.numbers, out.numbers.real
    channels, height, width = p.node.shape
    _, rows, columns = p.shapes[0]
    places = [
        c * rows * columns + y * o.dilation[0] * columns + x * o.dilation[1]
        for c in range(o.weight.shape[1])
        for y in range(o.weight.shape[2])
        for x in range(o.weight.shape[3])
    ]
    matrix = o.weight.reshape(channels, -1)
    order = np.flatnonzero(matrix.ravel())
    ends = np.cumsum(np.count_nonzero(matrix, axis=1))
    # Outputs of a group read that group's channels.
    outputs = order // matrix.shape[1]
    first = outputs // (channels // o.groups) * (o.weight.shape[1] * rows * columns)
    offsets = np.array(places)[order % matrix.shape[1]] + first
    scale = ""
    if n.int8:
        whole, scales = quantised(matrix)
        out.tables.append(table("int8_t", f"{p.name}_w", whole.ravel()[order]))
        out.tables.append(table(real, f"{p.name}_s", reals(n, scales)))
        scale = f" * {p.name}_s[c]"
    else:
        out.tables.append(table(real, f"{p.name}_w", reals(n, matrix.ravel()[order])))
    out.tables.append(table(real, f"{p.name}_b", reals(n, o.bias)))
    largest = int(max(places)) if o.groups == 1 else int(offsets.max(initial=0))
    out.tables.append(table(whole_type(largest), f"{p.name}_i", offsets))
    out.tables.append(table(whole_type(int(ends[-1])), f"{p.name}_e", ends))
    out.kinds.append("sparse")
    area = height * width
    across = "x" if o.stride[1] == 1 else f"x * {o.stride[1]}"
    return (
        f"    for (int c = 0, k = 0; c < {channels}; c++) {{\n"
        f"        {real} *to = {p.target} + c * {area};\n"
        f"        for (int i = 0; i < {area}; i++) to[i] = {p.name}_b[c];\n"
        f"        for (; k < (int){p.name}_e[c]; k++) {{\n"
        f"            const {real} w = ({real}){p.name}_w[k]{scale};\n"
        f"            const {real} *from = {p.sources[0]} + {p.name}_i[k];\n"
        f"            for (int y = 0; y < {height}; y++)\n"
        f"                for (int x = 0; x < {width}; x++)\n"
        f"                    to[y * {width} + x] += w * from[y * {o.stride[0] * columns} + {across}];\n"
        f"        }}\n"
        f"    }}\n"
    )


def write_pool(out: Written, p: Place, o: Pool) -> str:
    """Statements for the largest or the mean value of each window."""
    n, real = out.numbers, out.numbers.real
    channels, height, width = p.node.shape
    _, rows, columns = p.shapes[0]
    if o.kind == "max":
        start, each, end = "from[0]", "if ($v > value) value = $v;", ""
    else:
        start, each = n.literal(0.0), "value += $v;"
        end = f" / {n.literal(float(o.size[0] * o.size[1]))}"
    each = each.replace("$v", f"from[i * {columns} + j]")
    return (
        f"    for (int c = 0, k = 0; c < {channels}; c++)\n"
        f"        for (int y = 0; y < {height}; y++)\n"
        f"            for (int x = 0; x < {width}; x++) {{\n"
        f"                const {real} *from = {p.sources[0]} + c * {rows * columns}\n"
        f"                    + y * {o.stride[0] * columns} + x * {o.stride[1]};\n"
        f"                {real} value = {start};\n"
        f"                for (int i = 0; i < {o.size[0]}; i++)\n"
        f"                    for (int j = 0; j < {o.size[1]}; j++) {each}\n"
        f"                {p.target}[k++] = value{end};\n"
        f"            }}\n"
    )


def write_lstm(out: Written, p: Place, o: Lstm) -> str:
    """Statements for one step of an LSTM."""
    units = len(o.bias) // 4
    zeros = np.zeros_like(o.bias)
    a, b = p.spare, f"({p.spare} + {4 * units})"

    def gate(i: int) -> str:
        return f"{a}[i + {i * units}] + {b}[i + {i * units}]"

    return (
        out.multiply(f"{p.name}x", o.weight, o.bias, p.sources[0], a)
        + out.multiply(f"{p.name}h", o.recurrent, zeros, p.sources[1], b)
        + f"    for (int i = 0; i < {units}; i++) {{\n"
        f"        const {out.numbers.real} cell = {p.sources[2]}[i] * {out.sigmoid(gate(1))}\n"
        f"            + {out.tanh(gate(2))} * {out.sigmoid(gate(0))};\n"
        f"        {p.target}[i] = {out.tanh('cell')} * {out.sigmoid(gate(3))};\n"
        f"        {p.target}[i + {units}] = cell;\n"
        f"    }}\n"
    )


def write_gru(out: Written, p: Place, o: Gru) -> str:
    """Statements for one step of a GRU."""
    units = len(o.bias) // 3
    a, b = p.spare, f"({p.spare} + {3 * units})"
    one, real = out.numbers.literal(1.0), out.numbers.real
    new = out.tanh(f"{a}[i + {2 * units}] + reset * {b}[i + {2 * units}]")
    return (
        out.multiply(f"{p.name}x", o.weight, o.bias, p.sources[0], a)
        + out.multiply(f"{p.name}h", o.recurrent, o.recurrent_bias, p.sources[1], b)
        + f"    for (int i = 0; i < {units}; i++) {{\n"
        f"        const {real} reset = {out.sigmoid(f'{a}[i] + {b}[i]')};\n"
        f"        const {real} keep = {out.sigmoid(f'{a}[i + {units}] + {b}[i + {units}]')};\n"
        f"        {p.target}[i] = ({one} - keep) * {new} + keep * {p.sources[1]}[i];\n"
        f"    }}\n"
    )
