"""torch's operations element by element, and those that reduce an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.aten.translator import (
    Handler,
    NotExpressibleError,
    Traced,
    Translator,
    varies,
)
from rllib_ext.export.operations import ArgMax, Clip, OneHot, Permute, Reduce, Softmax


def unary(kind: str) -> Handler:
    """A handler of a function of each element."""
    return lambda t, like, x, *_, **__: t.unary(x, kind)


def binary(kind: str) -> Handler:
    """A handler of a function of pairs of elements; `alpha` scales the second."""

    def handle(
        t: Translator,
        like: Tensor,
        x: Any,
        y: Any,
        *,
        alpha: float = 1,
        rounding_mode: str | None = None,
    ) -> Traced:
        if rounding_mode is not None:
            raise NotExpressibleError("a division that rounds")
        if alpha != 1:
            y = t.binary("mul", y, alpha, like) if isinstance(y, Traced) else y * alpha
        return t.binary(kind, x, y, like)

    return handle


def same(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    """Handles calls that change nothing in a program, such as `detach`."""
    return x


def converted(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    """A conversion of numbers' kind: to float32 only."""
    if like.dtype == torch.float32:
        return Traced(t.builder.real(x.node), x.axis)
    if like.dtype == torch.float64:
        raise NotExpressibleError("numbers in double precision")
    if t.builder.nodes[x.node].dtype == "float32":
        raise NotExpressibleError(f"a conversion to {like.dtype}")
    return x


def clamped(t: Translator, like: Tensor, x: Traced, low: Any = None, high: Any = None) -> Traced:
    """Each element between two bounds that are the same at each decision."""
    if varies([low, high]):
        raise NotExpressibleError("bounds that are computed from the observation")
    bounds = []
    for bound, open_end in ((low, -np.inf), (high, np.inf)):
        if bound is None:
            bounds.append(np.array(open_end, np.float32))
            continue
        node = t.builder.real(t.operand(bound, like))
        bounds.append(t.builder.nodes[node].operation.value)  # type: ignore[attr-defined]
    operation = Clip(low=bounds[0], high=bounds[1])
    return Traced(t.builder.add(operation, t.builder.real(x.node)), x.axis)


def one_hot(t: Translator, like: Tensor, x: Traced, size: int = -1) -> Traced:
    """Whole numbers to 1 at their position of a new last axis."""
    return Traced(t.builder.add(OneHot(size=like.shape[-1]), x.node), x.axis)


def argmax(
    t: Translator, like: Tensor, x: Traced, dim: int | None = None, keepdim: bool = False
) -> Traced:
    """The position of the largest element of the last axis."""
    if dim is None:
        raise NotExpressibleError("the largest element of a whole batch")
    return _along_last(t, like, x, dim, ArgMax())


def argmin(t: Translator, like: Tensor, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    """The position of the smallest element of the last axis."""
    return argmax(t, like, t.unary(x, "neg"), *args, **kwargs)


def softmax(t: Translator, like: Tensor, x: Traced, dim: int, *_: Any, **__: Any) -> Traced:
    """Shares over the last axis."""
    if dim % like.dim() != like.dim() - 1:
        raise NotExpressibleError("a softmax over another axis than the last")
    t.axis_of(x, dim)
    return Traced(t.builder.add(Softmax(), t.builder.real(x.node)), x.axis)


def log_softmax(t: Translator, like: Tensor, x: Traced, dim: int, *_: Any, **__: Any) -> Traced:
    """Logarithms of shares over the last axis, also of those that are too small for a float."""
    if dim % like.dim() != like.dim() - 1:
        raise NotExpressibleError("a softmax over another axis than the last")
    each = torch.empty((*like.shape[:-1], 1), device="meta")
    below = t.binary("sub", x, reduce("max")(t, each, x, [-1], True), like)
    summed = reduce("sum")(t, each, t.unary(below, "exp"), [-1], True)
    return t.binary("sub", below, t.unary(summed, "log"), like)


def _along_last(t: Translator, like: Tensor, x: Traced, dim: int, operation: Any) -> Traced:
    axis = t.axis_of(x, dim)
    rank = len(t.shape(x))
    order = (*(i for i in range(rank) if i != axis), axis)
    node = t.builder.add(operation, t.builder.add(Permute(order=order), x.node))
    left = Traced(node, x.axis - (dim % (rank + 1) < x.axis))
    return t.reshaped(left, like)


def reduce(kind: str) -> Handler:
    """A handler of a sum, mean or maximum over axes other than the batch."""

    def handle(
        t: Translator, like: Any, x: Traced, dims: Any = None, keepdim: bool = False, **__: Any
    ) -> Any:
        dims = [dims] if isinstance(dims, int) else dims
        if not dims:
            raise NotExpressibleError(f"the {kind} of a whole batch")
        axes = sorted((t.axis_of(x, dim) for dim in dims), reverse=True)
        node = t.builder.real(x.node)
        for axis in axes:
            node = t.builder.add(Reduce(kind=kind, axis=axis), node)
        gone = sum(dim % (len(t.shape(x)) + 1) < x.axis for dim in dims)
        return t.reshaped(Traced(node, x.axis - gone), like)

    return handle


def where_bound(kind: str) -> Handler:
    """A handler of the larger or the smaller of two tensors."""
    return lambda t, like, x, y: t.binary(kind, x, y, like)


def elu(t: Translator, like: Tensor, x: Traced, alpha: float = 1.0, *scales: float) -> Traced:
    """An exponential linear unit without scales."""
    if any(scale != 1 for scale in scales):
        raise NotExpressibleError("a scaled elu")
    return t.unary(x, "elu", alpha)


def gelu(t: Translator, like: Tensor, x: Traced, approximate: str = "none") -> Traced:
    """A Gaussian error linear unit, not the approximate one."""
    if approximate != "none":
        raise NotExpressibleError("an approximate gelu")
    return t.unary(x, "gelu")


def power(t: Translator, like: Tensor, x: Any, exponent: Any) -> Traced:
    """A square or a square root."""
    if isinstance(exponent, Tensor) and exponent.numel() > 1:
        raise NotExpressibleError("a power of its own for each element")
    if exponent == 2:
        return t.unary(x, "square")
    if exponent == 0.5:
        return t.unary(x, "sqrt")
    raise NotExpressibleError("a power other than 2")
