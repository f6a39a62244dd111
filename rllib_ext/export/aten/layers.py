"""torch's operations with weights: linear, convolutional and recurrent layers, and layer norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.aten.elements import reduce
from rllib_ext.export.aten.translator import (
    NotExpressibleError,
    Traced,
    Translator,
    varies,
)
from rllib_ext.export.operations import Concat, Conv, Dense, Gru, Lstm, Pad, Reshape


def linear(t: Translator, like: Tensor, x: Traced, weight: Any, bias: Any = None) -> Traced:
    """A linear layer whose weights are the same at each decision."""
    if varies([weight, bias]):
        raise NotExpressibleError("a layer whose weights are computed from the observation")
    t.axis_of(x, -1)
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    operation = Dense(weight=_array(weight), bias=_array(bias))
    return Traced(t.builder.add(operation, t.builder.real(x.node)), x.axis)


def addmm(t: Translator, like: Tensor, bias: Any, x: Traced, weight: Any, **__: Any) -> Traced:
    """A bias plus a product with a fixed matrix."""
    if __ or varies([weight, bias]):
        raise NotExpressibleError("a layer whose weights are computed from the observation")
    return linear(t, like, x, weight.t(), bias)


def matmul(t: Translator, like: Tensor, x: Any, weight: Any) -> Traced:
    """A product with a fixed matrix."""
    if varies([weight]) or weight.dim() != 2:
        raise NotExpressibleError("a product of two computed matrices, as in attention")
    return linear(t, like, x, weight.t())


def conv(
    t: Translator,
    like: Tensor,
    x: Traced,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: int = 1,
) -> Traced:
    """A convolution over one or two axes."""
    axes = weight.dim() - 2
    if x.axis != 0 or axes > 2 or isinstance(padding, str):
        raise NotExpressibleError("a convolution that is three-dimensional or padded by name")
    bias = torch.zeros(len(weight)) if bias is None else bias
    sizes = [
        tuple(int(v) for v in (list(given) * axes)[:axes]) for given in (stride, padding, dilation)
    ]
    node, kernel = t.builder.real(x.node), _array(weight)
    if axes == 1:
        channels, width = t.shape(x)
        node = t.builder.add(Reshape(shape=(channels, 1, width)), node)
        kernel = kernel[:, :, None]
        sizes = [(fill, *size) for fill, size in zip((1, 0, 1), sizes, strict=True)]
    if any(sizes[1]):
        node = t.builder.add(Pad(before=(0, *sizes[1]), after=(0, *sizes[1]), value=0.0), node)
    operation = Conv(
        weight=kernel, bias=_array(bias), stride=sizes[0], dilation=sizes[2], groups=groups
    )
    node = t.builder.add(operation, node)
    if axes == 1:
        node = t.builder.add(Reshape(shape=tuple(int(s) for s in like.shape[1:])), node)
    return Traced(node, 0)


def _recurrent(t: Translator, like: Any, given: Any, *args: Any, gates: int) -> Any:
    x = t.known(given)
    states, weights, has_biases, layers, _, training, both_ways = args[:7]
    states = list(states) if gates == 4 else [states]
    batch_first = bool(args[7])
    steps = t.shape(x)[0]
    if steps != 1 or both_ways or training or x.axis != (0 if batch_first else 1):
        raise NotExpressibleError(
            "a recurrent layer that reads both ways, or several steps at once"
        )
    if len(weights) != layers * (4 if has_biases else 2):
        raise NotExpressibleError("a recurrent layer with a projection")
    b = t.builder
    value = b.real(b.add(Reshape(shape=t.shape(x)[1:]), x.node))
    known = [t.known(state) for state in states]
    found: list[list[int]] = [[] for _ in states]
    for layer in range(layers):
        group = [_array(w) for w in weights[layer * len(weights) // layers :]]
        units = group[1].shape[1]
        before = [
            b.add(Reshape(shape=(units,)), b.part(state.node, 0, layer, layer + 1))
            for state in known
        ]
        zeros = np.zeros(gates * units, np.float32)
        biases = group[2:4] if has_biases else [zeros, zeros]
        if gates == 4:
            both = b.add(
                Lstm(weight=group[0], recurrent=group[1], bias=biases[0] + biases[1]),
                value,
                *before,
            )
            after = [b.part(both, 0, 0, units), b.part(both, 0, units, 2 * units)]
        else:
            after = [
                b.add(
                    Gru(
                        weight=group[0],
                        recurrent=group[1],
                        bias=biases[0],
                        recurrent_bias=biases[1],
                    ),
                    value,
                    *before,
                )
            ]
        value = after[0]
        for nodes, node in zip(found, after, strict=True):
            nodes.append(b.add(Reshape(shape=(1, units)), node))
    output = b.add(Reshape(shape=(1, *b.shape(value))), value)
    ends = [Traced(n[0] if layers == 1 else b.add(Concat(axis=0), *n), 1) for n in found]
    return (Traced(output, x.axis), *ends)


def lstm(t: Translator, like: Any, x: Any, *args: Any) -> Any:
    """LSTM layers, one step after another."""
    return _recurrent(t, like, x, *args, gates=4)


def gru(t: Translator, like: Any, x: Any, *args: Any) -> Any:
    """GRU layers, one step after another."""
    return _recurrent(t, like, x, *args, gates=3)


def batch_norm(
    t: Translator,
    like: Tensor,
    x: Traced,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    epsilon: float,
    *_: Any,
) -> Traced:
    """A batch norm with the statistics that training left."""
    if training or mean is None or variance is None or varies([weight, bias, mean, variance]):
        raise NotExpressibleError("a batch norm over the batch itself")
    if x.axis != 0:
        raise NotExpressibleError("a batch norm of something else than channels")
    scale = (variance.double() + epsilon).rsqrt()
    scale = scale if weight is None else scale * weight.double()
    shift = -mean.double() * scale
    shift = shift if bias is None else shift + bias.double()
    # Behind the channels, whatever there is.
    shape = (-1, *[1] * (like.dim() - 2))
    found = t.binary("mul", x, scale.reshape(shape), like)
    return t.binary("add", found, shift.reshape(shape), like)


def layer_norm(
    t: Translator,
    like: Tensor,
    x: Traced,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Traced:
    """A layer norm over the last axis."""
    if len(shape) != 1:
        raise NotExpressibleError("a layer norm over several axes")
    mean_like = torch.empty((*like.shape[:-1], 1), device="meta")
    mean = reduce("mean")(t, mean_like, x, [-1], True)
    centred = t.binary("sub", x, mean, like)
    variance = reduce("mean")(t, mean_like, t.unary(centred, "square"), [-1], True)
    deviation = t.unary(t.binary("add", variance, epsilon, mean_like), "sqrt")
    found = t.binary("div", centred, deviation, like)
    found = found if weight is None else t.binary("mul", found, weight, like)
    return found if bias is None else t.binary("add", found, bias, like)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
