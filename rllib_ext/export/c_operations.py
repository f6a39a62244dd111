"""Each operation of a program as statements of C99."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rllib_ext.export.c_layers import write_conv, write_dense, write_gru, write_lstm, write_pool
from rllib_ext.export.c_place import Place, Written
from rllib_ext.export.c_text import (
    at,
    nested,
    reals,
    size,
    strides,
    table,
    whole_type,
)
from rllib_ext.export.operations import (
    ArgMax,
    Binary,
    Clip,
    Concat,
    Conv,
    Dense,
    Gru,
    Lstm,
    Normalise,
    OneHot,
    Operation,
    Pad,
    Permute,
    Pool,
    Reduce,
    Sample,
    Shape,
    Softmax,
    Take,
    ToFloat,
    Unary,
)


def write(out: Written, place: Place) -> str:
    """Statements for one node."""
    return _WRITERS[type(place.node.operation)](out, place, place.node.operation)


def _each(place: Place, text: str) -> str:
    """A statement for each element; x and y stand for the input's and the result's."""
    body = text.replace("$x", f"{place.sources[0]}[i]").replace("$y", f"{place.target}[i]")
    return f"    for (int i = 0; i < {size(place.node.shape)}; i++) {body}\n"


def _normalise(out: Written, p: Place, o: Normalise) -> str:
    n = out.numbers
    kind = np.float32 if n.real == "float" else np.float64
    high = o.mean.astype(kind)
    # Where a mean is large beside its deviation, what a float can't hold of it counts.
    low = o.mean - high
    out.tables.append(table(n.real, f"{p.name}_m", reals(n, high)))
    out.tables.append(table(n.real, f"{p.name}_k", reals(n, 1.0 / o.scale)))
    fine = ""
    if bool((np.abs(low) > 1e-8 * o.scale).any()):
        out.tables.append(table(n.real, f"{p.name}_l", reals(n, low)))
        fine = f" - {p.name}_l[i]"
    text = f"$y = ({n.real})(($x - {p.name}_m[i]){fine}) * {p.name}_k[i];"
    text = text.replace("$x", f"({n.real})$x")
    if np.isfinite(o.clip):
        text = f"{{ {text} {_limited('$y', n.literal(-o.clip), n.literal(o.clip))} }}"
    return _each(p, text)


def _limited(value: str, low: str, high: str) -> str:
    return f"if ({value} < {low}) {value} = {low}; else if ({value} > {high}) {value} = {high};"


def _unary(out: Written, p: Place, o: Unary) -> str:
    n = out.numbers
    f, one, zero, a = n.suffix, n.literal(1.0), n.literal(0.0), n.literal(o.alpha)
    half, root = n.literal(0.5), n.literal(np.sqrt(0.5))
    # Compared in this order, NaN stays NaN.
    text = {
        "tanh": out.tanh("$x") if o.kind == "tanh" else "",
        "exp": f"exp{f}($x)",
        "log": f"($x <= {zero} ? -{'FLT_MAX' if f else 'DBL_MAX'} : log{f}($x))",
        "neg": "-$x",
        "abs": f"fabs{f}($x)",
        "sqrt": f"sqrt{f}($x)",
        "square": "$x * $x",
        "relu": f"$x < {zero} ? {zero} : $x",
        "sigmoid": out.sigmoid("$x") if o.kind == "sigmoid" else "",
        "silu": f"$x * {out.sigmoid('$x')}" if o.kind == "silu" else "",
        "softplus": f"($x > {zero} ? $x : {zero}) + log1p{f}(exp{f}(-fabs{f}($x)))",
        "gelu": f"{half} * $x * ({one} + erf{f}($x * {root}))",
        "elu": f"$x > {zero} ? $x : {a} * expm1{f}($x)",
        "leaky_relu": f"$x > {zero} ? $x : {a} * $x",
    }[o.kind]
    return _each(p, f"$y = {text};")


def _binary(out: Written, p: Place, o: Binary) -> str:
    sign = {"add": "+", "sub": "-", "mul": "*", "div": "/"}.get(o.kind)
    shape = p.node.shape
    steps = []
    for given in p.shapes:
        full = (1,) * (len(shape) - len(given)) + tuple(given)
        steps.append(tuple(s if w > 1 else 0 for s, w in zip(strides(full), full, strict=True)))

    def body(index: Sequence[str]) -> str:
        a, b = (f"{s}[{at(index, step)}]" for s, step in zip(p.sources, steps, strict=True))
        order = ">" if o.kind == "max" else "<"
        value = f"{a} {sign} {b}" if sign else f"{a} {order} {b} ? {a} : {b}"
        return f"{p.target}[{at(index, strides(shape))}] = {value};"

    return nested(shape, body)


def _clip(out: Written, p: Place, o: Clip) -> str:
    n, shape = out.numbers, p.node.shape
    bounds = []
    for name, array in (("lo", o.low), ("hi", o.high)):
        values = np.broadcast_to(array, shape).ravel()
        if bool((values == values[0]).all()):
            bounds.append(n.literal(float(values[0])))
        else:
            out.tables.append(table(n.real, f"{p.name}_{name}", reals(n, values)))
            bounds.append(f"{p.name}_{name}[i]")
    low, high = bounds
    return _each(p, f"$y = $x < {low} ? {low} : $x > {high} ? {high} : $x;")


def _permute(out: Written, p: Place, o: Permute) -> str:
    before = strides(p.shapes[0])
    moved = [before[axis] for axis in o.order]

    def body(index: Sequence[str]) -> str:
        to = at(index, strides(p.node.shape))
        return f"{p.target}[{to}] = {p.sources[0]}[{at(index, moved)}];"

    return nested(p.node.shape, body)


def _concat(out: Written, p: Place, o: Concat) -> str:
    text, offset = "", 0
    steps = strides(p.node.shape)
    for source, shape in zip(p.sources, p.shapes, strict=True):
        start = offset * steps[o.axis]

        def body(
            index: Sequence[str], source: str = source, shape: Shape = shape, start: int = start
        ) -> str:
            to = at(index, steps, start)
            return f"{p.target}[{to}] = {source}[{at(index, strides(shape))}];"

        text += nested(shape, body)
        offset += shape[o.axis]
    return text


def _take(out: Written, p: Place, o: Take) -> str:
    shape, steps = p.node.shape, strides(p.shapes[0])
    apart = np.diff(o.indices)
    first = int(o.indices[0])
    regular = bool((apart == apart[0]).all()) if len(apart) else True
    step = int(apart[0]) if len(apart) else 1
    if not regular:
        kind = whole_type(int(o.indices.max()))
        out.tables.append(table(kind, f"{p.name}_i", o.indices))

    def body(index: Sequence[str]) -> str:
        source, offset = list(index), 0
        widths = list(steps)
        if regular:
            offset = first * steps[o.axis]
            widths[o.axis] *= step
        else:
            source[o.axis] = f"{p.name}_i[{index[o.axis]}]"
        return f"{p.target}[{at(index, strides(shape))}] = {p.sources[0]}[{at(source, widths, offset)}];"

    return nested(shape, body)


def _pad(out: Written, p: Place, o: Pad) -> str:
    steps = strides(p.node.shape)
    start = sum(b * s for b, s in zip(o.before, steps, strict=True))

    def body(index: Sequence[str]) -> str:
        from_ = at(index, strides(p.shapes[0]))
        return f"{p.target}[{at(index, steps, start)}] = {p.sources[0]}[{from_}];"

    fill = f"    for (int i = 0; i < {size(p.node.shape)}; i++) {p.target}[i] = "
    return f"{fill}{out.numbers.literal(o.value)};\n" + nested(p.shapes[0], body)


def _reduce(out: Written, p: Place, o: Reduce) -> str:
    n, steps = out.numbers, strides(p.shapes[0])
    count = p.shapes[0][o.axis]
    others = [s for axis, s in enumerate(steps) if axis != o.axis]

    def body(index: Sequence[str]) -> str:
        source = f"{p.sources[0]}[{at([*index, 'k'], [*others, steps[o.axis]])}]"
        start = n.literal(0.0) if o.kind != "max" else n.literal(-np.inf)
        each = f"if ({source} > sum) sum = {source};" if o.kind == "max" else f"sum += {source};"
        end = f" / {n.literal(float(count))}" if o.kind == "mean" else ""
        return (
            f"{n.real} sum = {start};\n"
            f"for (int k = 0; k < {count}; k++) {each}\n"
            f"{p.target}[{at(index, strides(p.node.shape))}] = sum{end};"
        )

    text = nested(p.node.shape, body)
    return text if size(p.node.shape) > 1 else f"    {{\n{text}    }}\n"


def _onehot(out: Written, p: Place, o: OneHot) -> str:
    n, before = out.numbers, size(p.shapes[0])
    one, zero = n.literal(1.0), n.literal(0.0)
    return (
        f"    for (int i = 0; i < {before}; i++)\n"
        f"        for (int k = 0; k < {o.size}; k++)\n"
        f"            {p.target}[i * {o.size} + k] = {p.sources[0]}[i] == k ? {one} : {zero};\n"
    )


def _argmax(out: Written, p: Place, o: ArgMax) -> str:
    width = p.shapes[0][-1]
    return (
        f"    for (int i = 0; i < {size(p.node.shape)}; i++) {{\n"
        f"        const {out.numbers.real} *x = {p.sources[0]} + i * {width};\n"
        f"        int best = 0;\n"
        f"        for (int k = 1; k < {width}; k++) if (x[k] > x[best]) best = k;\n"
        f"        {p.target}[i] = best;\n"
        f"    }}\n"
    )


def _softmax(out: Written, p: Place, o: Softmax) -> str:
    width, n = p.shapes[0][-1], out.numbers
    return (
        f"    for (int i = 0; i < {size(p.node.shape) // width}; i++) {{\n"
        f"        const {n.real} *x = {p.sources[0]} + i * {width};\n"
        f"        {n.real} *y = {p.target} + i * {width};\n"
        f"        {n.real} most = x[0], sum = {n.literal(0.0)};\n"
        f"        for (int k = 1; k < {width}; k++) if (x[k] > most) most = x[k];\n"
        f"        for (int k = 0; k < {width}; k++) sum += y[k] = exp{n.suffix}(x[k] - most);\n"
        f"        for (int k = 0; k < {width}; k++) y[k] /= sum;\n"
        f"    }}\n"
    )


def _sample(out: Written, p: Place, o: Sample) -> str:
    width, n = p.shapes[0][-1], out.numbers
    return (
        f"    for (int i = 0; i < {size(p.node.shape)}; i++) {{\n"
        f"        const {n.real} *x = {p.sources[0]} + i * {width};\n"
        f"        {n.real} most = x[0], whole = {n.literal(0.0)}, sum = {n.literal(0.0)};\n"
        f"        int drawn = 0;\n"
        f"        for (int k = 1; k < {width}; k++) if (x[k] > most) most = x[k];\n"
        f"        for (int k = 0; k < {width}; k++) whole += exp{n.suffix}(x[k] - most);\n"
        f"        for (int k = 0; k + 1 < {width}; k++) {{\n"
        f"            sum += exp{n.suffix}(x[k] - most);\n"
        f"            if (sum <= {p.sources[1]}[i] * whole) drawn++;\n"
        f"        }}\n"
        f"        {p.target}[i] = drawn;\n"
        f"    }}\n"
    )


def _tofloat(out: Written, p: Place, o: ToFloat) -> str:
    return _each(p, f"$y = ({out.numbers.real})$x;")


_WRITERS: dict[type[Operation], Callable[[Written, Place, Any], str]] = {
    ArgMax: _argmax,
    Binary: _binary,
    Clip: _clip,
    Concat: _concat,
    Conv: write_conv,
    Dense: write_dense,
    Gru: write_gru,
    Lstm: write_lstm,
    Normalise: _normalise,
    OneHot: _onehot,
    Pad: _pad,
    Permute: _permute,
    Pool: write_pool,
    Reduce: _reduce,
    Sample: _sample,
    Softmax: _softmax,
    Take: _take,
    ToFloat: _tofloat,
    Unary: _unary,
}
