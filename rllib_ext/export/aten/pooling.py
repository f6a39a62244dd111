"""torch's pooling over one or two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rllib_ext.export.aten.translator import Handler, NotExpressibleError, Traced, Translator
from rllib_ext.export.operations import Pad, Pool, Reshape

# Less than any value: what lies around a picture is never its largest.
_LOWEST = float(np.finfo(np.float32).min)


def max_pool(axes: int, *, indices: bool = False) -> Handler:
    """A handler of the largest value of each window.

    Args:
        axes: Over how many axes.
        indices: Whether torch's operation also gives where that value is, which nobody may read.
    """

    def handle(
        t: Translator,
        like: Any,
        x: Traced,
        size: Any,
        stride: Any = (),
        padding: Any = (0,),
        dilation: Any = (1,),
        ceil_mode: bool = False,
    ) -> Any:
        if any(step != 1 for step in _sizes(dilation, axes)):
            raise NotExpressibleError("a dilated pooling")
        whole = like[0] if indices else like
        how = _sizes(size, axes), _sizes(stride or size, axes), _sizes(padding, axes)
        found = _pool(t, whole, x, "max", _LOWEST, *how)
        return (found,) if indices else found

    return handle


def avg_pool(axes: int) -> Handler:
    """A handler of the mean value of each window; what is padded counts."""

    def handle(
        t: Translator,
        like: Tensor,
        x: Traced,
        size: Any,
        stride: Any = (),
        padding: Any = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor: int | None = None,
    ) -> Traced:
        how = _sizes(size, axes), _sizes(stride or size, axes), _sizes(padding, axes)
        if divisor is not None or (any(how[2]) and not count_include_pad):
            raise NotExpressibleError("a mean over windows that divides by another number")
        return _pool(t, like, x, "mean", 0.0, *how)

    return handle


def adaptive_pool(kind: str, axes: int, *, indices: bool = False) -> Handler:
    """Returns a handler of pooling to a given size that divides the input's size.

    Args:
        kind: "max" or "mean".
        axes: Over how many axes.
        indices: Whether the call also returns indices, as for `max_pool`.
    """

    def handle(t: Translator, like: Any, x: Traced, sizes: Any) -> Any:
        whole = like[0] if indices else like
        before, after = t.shape(x)[-axes:], whole.shape[-axes:]
        if any(b % a for b, a in zip(before, after, strict=True)):
            raise NotExpressibleError("an adaptive pooling into windows of different sizes")
        size = [b // int(a) for b, a in zip(before, after, strict=True)]
        found = _pool(t, whole, x, kind, 0.0, size, size, [0] * axes)
        return (found,) if indices else found

    return handle


def _pool(
    t: Translator,
    like: Tensor,
    x: Traced,
    kind: str,
    around: float,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Traced:
    axes, b = len(size), t.builder
    if x.axis != 0 or len(t.shape(x)) != axes + 1:
        raise NotExpressibleError("a pooling of something else than channels of a picture or a row")
    node = b.real(x.node)
    if axes == 1:
        channels, width = t.shape(x)
        node = b.add(Reshape(shape=(channels, 1, width)), node)
        size, stride, padding = (1, *size), (1, *stride), (0, *padding)
    if any(padding):
        sides = (0, *padding)
        node = b.add(Pad(before=sides, after=sides, value=around), node)
    node = b.add(Pool(kind=kind, size=tuple(size), stride=tuple(stride)), node)
    shape = tuple(int(s) for s in like.shape[1:])
    # What torch adds at the far end where sizes are rounded up is no whole window.
    if int(np.prod(b.shape(node))) != int(np.prod(shape)):
        raise NotExpressibleError("a pooling with windows that are cut off (ceil_mode)")
    return Traced(b.add(Reshape(shape=shape), node), 0)


def _sizes(given: Any, axes: int) -> list[int]:
    listed = [given] if isinstance(given, int) else list(given)
    return [int(v) for v in (listed * axes)[:axes]]
