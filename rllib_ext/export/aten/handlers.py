"""torch's operations by name: what the trace of a module may hold."""

from __future__ import annotations

import operator
from typing import Any

from rllib_ext.export.aten.elements import (
    argmax,
    argmin,
    binary,
    clamped,
    converted,
    elu,
    gelu,
    log_softmax,
    one_hot,
    power,
    reduce,
    same,
    softmax,
    unary,
    where_bound,
)
from rllib_ext.export.aten.layers import (
    addmm,
    batch_norm,
    conv,
    gru,
    layer_norm,
    linear,
    lstm,
    matmul,
)
from rllib_ext.export.aten.pooling import adaptive_pool, avg_pool, max_pool
from rllib_ext.export.aten.shapes import (
    chunk,
    concatenated,
    index_select,
    padded,
    permute,
    reshaped,
    selected,
    slice_part,
    split_parts,
    stacked,
    transpose,
)
from rllib_ext.export.aten.translator import Handler, Traced, math_size, refuse

HANDLERS: dict[Any, Handler] = {
    operator.getitem: lambda t, like, parts, index: (
        parts[index] if index < len(parts) else refuse("where the largest value of a window lies")
    ),
    **{kind: unary(kind) for kind in (
        "tanh", "relu", "sigmoid", "silu", "exp", "log", "neg", "abs", "sqrt", "square",
    )},
    "softplus": lambda t, like, x, beta=1, threshold=20: (
        t.unary(x, "softplus") if beta == 1 else refuse("a scaled softplus")
    ),
    "elu": elu,
    "gelu": gelu,
    "leaky_relu": lambda t, like, x, slope=0.01: t.unary(x, "leaky_relu", slope),
    "rsqrt": lambda t, like, x: t.binary("div", 1.0, t.unary(x, "sqrt"), like),
    "reciprocal": lambda t, like, x: t.binary("div", 1.0, x, like),
    "pow": power,
    "add": binary("add"),
    "sub": binary("sub"),
    "rsub": lambda t, like, x, y, **how: binary("sub")(t, like, y, x, **how),
    "mul": binary("mul"),
    "div": binary("div"),
    "maximum": where_bound("max"),
    "minimum": where_bound("min"),
    "linear": linear,
    "addmm": addmm,
    "mm": matmul,
    "matmul": matmul,
    "conv1d": conv,
    "conv2d": conv,
    "lstm": lstm,
    "gru": gru,
    "layer_norm": layer_norm,
    "batch_norm": batch_norm,
    "max_pool1d": max_pool(1),
    "max_pool2d": max_pool(2),
    "max_pool2d_with_indices": max_pool(2, indices=True),
    "avg_pool1d": avg_pool(1),
    "avg_pool2d": avg_pool(2),
    "adaptive_avg_pool1d": adaptive_pool("mean", 1),
    "adaptive_avg_pool2d": adaptive_pool("mean", 2),
    "adaptive_max_pool1d": adaptive_pool("max", 1, indices=True),
    "adaptive_max_pool2d": adaptive_pool("max", 2, indices=True),
    "permute": permute,
    "transpose": transpose,
    "t": transpose,
    "cat": concatenated,
    "stack": stacked,
    "slice": slice_part,
    "select": selected,
    "index_select": index_select,
    "split": split_parts,
    "split_with_sizes": split_parts,
    "chunk": chunk,
    "pad": padded,
    "constant_pad_nd": lambda t, like, x, widths, value=0.0: padded(
        t, like, x, widths, "constant", value
    ),
    "clamp": clamped,
    "clamp_min": lambda t, like, x, low: clamped(t, like, x, low),
    "clamp_max": lambda t, like, x, high: clamped(t, like, x, None, high),
    "hardtanh": lambda t, like, x, low=-1.0, high=1.0: clamped(t, like, x, low, high),
    "one_hot": one_hot,
    "argmax": argmax,
    "argmin": argmin,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sum": reduce("sum"),
    "mean": reduce("mean"),
    "amax": reduce("max"),
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten"), reshaped
    ),
    **dict.fromkeys(
        ("clone", "detach", "alias", "contiguous", "dropout", "_assert_tensor_metadata", "lift_fresh"),
        same,
    ),
    **dict.fromkeys(("to", "_to_copy", "type_as"), converted),
    "broadcast_tensors": lambda t, like, parts: (
        tuple(parts)
        if len({tuple(part.shape) for part in like}) == 1
        and all(
            isinstance(part, Traced) and math_size(t.shape(part)) == part_like.numel() // t.batch
            for part, part_like in zip(parts, like, strict=True)
        )
        else refuse("a broadcast of tensors")
    ),
    "expand": lambda t, like, x, *_, **__: (
        t.reshaped(x, like)
        if math_size(t.shape(x)) * t.batch == like.numel()
        else refuse("an expansion along an axis")
    ),
}  # fmt: skip
