"""torch's operations that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.aten.translator import (
    NotExpressibleError,
    Traced,
    Translator,
    varies,
)
from rllib_ext.export.operations import Concat, Pad, Permute, Take


def reshaped(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    """The same elements in another shape."""
    return t.reshaped(x, like)


def permute(t: Translator, like: Tensor, x: Traced, order: Sequence[int]) -> Traced:
    """Axes in another order, the batch among them."""
    rank = len(order)
    order = [i % rank for i in order]
    places = [i - (i > x.axis) for i in order if i != x.axis]
    return Traced(t.builder.add(Permute(order=tuple(places)), x.node), order.index(x.axis))


def transpose(t: Translator, like: Tensor, x: Traced, one: int = 0, other: int = 1) -> Traced:
    """Two axes changed for one another."""
    order = list(range(like.dim()))
    order[one], order[other] = order[other], order[one]
    return permute(t, like, x, order)


def concatenated(t: Translator, like: Tensor, parts: Sequence[Any], dim: int = 0) -> Traced:
    """Tensors one after the other along an axis."""
    place = t.place(like)
    dim %= like.dim()
    if dim == place:
        raise NotExpressibleError("a concatenation along the batch")
    nodes = []
    for part in parts:
        if isinstance(part, Traced) and part.axis != place:
            raise NotExpressibleError("a concatenation of different batch axes")
        if isinstance(part, Traced):
            node = part.node
        else:
            node = t.builder.constant(t.without_batch(part.detach(), place).numpy())
        nodes.append(t.builder.real(node) if like.is_floating_point() else node)
    return Traced(t.builder.add(Concat(axis=dim - (dim > place)), *nodes), place)


def stacked(t: Translator, like: Tensor, parts: Sequence[Any], dim: int = 0) -> Traced:
    """Tensors along a new axis."""
    dim %= like.dim()
    shape = list(like.shape)
    shape[dim] = 1
    one = torch.empty(shape, device="meta")
    apart = [
        t.reshaped(part, one) if isinstance(part, Traced) else part.unsqueeze(dim) for part in parts
    ]
    return concatenated(t, like, apart, dim)


def slice_part(
    t: Translator,
    like: Tensor,
    x: Traced,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Traced:
    """Evenly spaced positions of an axis."""
    if dim % like.dim() == x.axis:
        if like.shape[x.axis] == t.batch:
            return x
        raise NotExpressibleError("a part of the batch")
    axis = t.axis_of(x, dim)
    indices = np.arange(t.shape(x)[axis])[slice(start, end, step)]
    return Traced(t.builder.add(Take(axis=axis, indices=indices), x.node), x.axis)


def selected(t: Translator, like: Tensor, x: Traced, dim: int, index: int) -> Traced:
    """One position of an axis, which goes."""
    axis = t.axis_of(x, dim)
    index %= t.shape(x)[axis]
    return t.reshaped(Traced(t.builder.part(x.node, axis, index, index + 1), x.axis), like)


def index_select(t: Translator, like: Tensor, x: Traced, dim: int, index: Any) -> Traced:
    """Some positions of an axis, in a given order."""
    if varies([index]):
        raise NotExpressibleError("positions that are computed from the observation")
    operation = Take(axis=t.axis_of(x, dim), indices=index.numpy().astype(np.int64))
    return Traced(t.builder.add(operation, x.node), x.axis)


def split_parts(t: Translator, like: Any, x: Traced, sizes: Any, dim: int = 0) -> Any:
    """Parts of an axis, of equal or of given sizes."""
    axis = t.axis_of(x, dim)
    width = t.shape(x)[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, width - at) for at in range(0, width, sizes)]
    ends = np.cumsum(sizes)
    return tuple(
        Traced(t.builder.part(x.node, axis, int(end - size), int(end)), x.axis)
        for size, end in zip(sizes, ends, strict=True)
    )


def chunk(t: Translator, like: Any, x: Traced, count: int, dim: int = 0) -> Any:
    """A number of parts of an axis."""
    return split_parts(t, like, x, -(-t.shape(x)[t.axis_of(x, dim)] // count), dim)


def padded(
    t: Translator,
    like: Tensor,
    x: Traced,
    widths: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Traced:
    """A constant around the elements."""
    rank = len(t.shape(x)) + 1
    sides = [*widths, *[0] * (2 * rank - len(widths))]
    before, after = sides[-2::-2], sides[::-2]
    if mode != "constant" or min(sides) < 0 or before[x.axis] or after[x.axis]:
        raise NotExpressibleError("padding other than with a constant")
    if not any(sides):
        return x
    kept = [i for i in range(rank) if i != x.axis]
    operation = Pad(
        before=tuple(before[i] for i in kept),
        after=tuple(after[i] for i in kept),
        value=float(value or 0.0),
    )
    return Traced(t.builder.add(operation, x.node), x.axis)
