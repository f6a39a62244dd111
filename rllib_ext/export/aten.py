"""torch's operations in terms of a program's: what the trace of a module may hold.

A traced tensor has its batch somewhere among its axes, and a program's node has none: `axis` says where
it was. What no operation here computes is refused by name.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.builder import Builder
from rllib_ext.export.program import (
    ArgMax,
    Binary,
    Clip,
    Concat,
    Conv,
    Dense,
    Gru,
    Lstm,
    OneHot,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Softmax,
    Take,
    Unary,
)


class NotExpressibleError(Exception):
    """What a call does that no operation of a program does, as a clause."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """A tensor of the trace that varies with what is given.

    Attributes:
        node: Its number in the program.
        axis: Where the batch lies among the tensor's axes.
    """

    node: int
    axis: int


Handler = Callable[..., Any]


class Translator:
    """Turns calls of torch's operations into nodes.

    Args:
        builder: Takes the nodes.
        batch: The size of the batch in the trace; no other axis has it.
    """

    def __init__(self, builder: Builder, batch: int) -> None:
        self.builder = builder
        self.batch = batch

    def call(self, target: Any, args: Sequence[Any], kwargs: dict[str, Any], like: Any) -> Any:
        """One call of the trace.

        Args:
            target: torch's operation.
            args: `Traced`, tensors that are the same at each decision, and plain values.
            kwargs: As `args`.
            like: What it gave in the trace, for its shape.

        Raises:
            NotExpressibleError: No operation of a program does that.
        """
        if not _varies([*args, *kwargs.values()]):
            return target(*args, **kwargs)
        name = getattr(getattr(target, "overloadpacket", None), "__name__", None)
        handler = HANDLERS.get(target if target is operator.getitem else name or "")
        if handler is None:
            raise NotExpressibleError(f"the operation {name or target}")
        return handler(self, like, *args, **kwargs)

    def shape(self, value: Traced) -> tuple[int, ...]:
        """Of a node, without the batch."""
        return self.builder.shape(value.node)

    def axis_of(self, value: Traced, dim: int) -> int:
        """The node's axis that a tensor's axis is."""
        rank = len(self.shape(value)) + 1
        dim %= rank
        if dim == value.axis:
            raise NotExpressibleError("an operation across the batch")
        return dim - (dim > value.axis)

    def place(self, like: Tensor) -> int:
        """Where the batch lies in a tensor of the trace."""
        places = [i for i, size in enumerate(like.shape) if size == self.batch]
        if len(places) != 1:
            raise NotExpressibleError(
                f"a tensor of shape {tuple(like.shape)}, where the batch is lost"
            )
        return places[0]

    def operand(self, value: Any, like: Tensor) -> int:
        """An operand of something element by element, as a node that is broadcast from the right."""
        place = self.place(like) - like.dim()
        if isinstance(value, Traced):
            rank = len(self.shape(value)) + 1
            if value.axis - rank != place:
                raise NotExpressibleError("an operation between different batch axes")
            return self.builder.real(value.node) if like.is_floating_point() else value.node
        kind = torch.float32 if like.is_floating_point() else torch.int64
        tensor = torch.as_tensor(value).detach().to(kind)
        if tensor.dim() >= -place:
            tensor = self.without_batch(tensor, tensor.dim() + place)
        return self.builder.constant(tensor.numpy())

    def without_batch(self, tensor: Tensor, axis: int) -> Tensor:
        """A tensor that is the same at each decision, without an axis that repeats it."""
        if not bool((tensor == tensor.narrow(axis, 0, 1)).all()):
            raise NotExpressibleError("a tensor with different values in a batch")
        return tensor.select(axis, 0)

    def known(self, value: Any) -> Traced:
        """A value as a traced one: tensors that are the same at each decision become constants."""
        if isinstance(value, Traced):
            return value
        place = self.place(value)
        array = self.without_batch(value.detach(), place).numpy()
        return Traced(self.builder.constant(np.asarray(array)), place)

    def unary(self, value: Traced, kind: str, alpha: float = 1.0) -> Traced:
        """A function of each element."""
        node = self.builder.real(value.node)
        return Traced(self.builder.add(Unary(kind=kind, alpha=float(alpha)), node), value.axis)

    def binary(self, kind: str, one: Any, other: Any, like: Tensor) -> Traced:
        """A function of pairs of elements."""
        if kind != "div" and not like.is_floating_point() and like.dtype == torch.bool:
            raise NotExpressibleError("an operation between truth values")
        nodes = self.operand(one, like), self.operand(other, like)
        return Traced(self.builder.add(Binary(kind=kind), *nodes), self.place(like))

    def reshaped(self, value: Traced, like: Tensor) -> Traced:
        """The same elements in the shape of a tensor of the trace."""
        place = self.place(like)
        before = int(np.prod(self.shape(value)[: value.axis]))
        if before != int(np.prod(like.shape[:place])):
            raise NotExpressibleError("a reshape that mixes the batch with other axes")
        shape = tuple(int(s) for i, s in enumerate(like.shape) if i != place)
        return Traced(self.builder.add(Reshape(shape=shape), value.node), place)


def _varies(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(_varies(value) for value in values)
    return isinstance(values, Traced)


def _unary(kind: str) -> Handler:
    return lambda t, like, x, *_, **__: t.unary(x, kind)


def _binary(kind: str) -> Handler:
    def handle(t: Translator, like: Tensor, x: Any, y: Any, *, alpha: float = 1) -> Traced:
        if alpha != 1:
            y = t.binary("mul", y, alpha, like) if isinstance(y, Traced) else y * alpha
        return t.binary(kind, x, y, like)

    return handle


def _same(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    return x


def _to(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    if like.dtype == torch.float32:
        return Traced(t.builder.real(x.node), x.axis)
    if like.dtype == torch.float64:
        raise NotExpressibleError("numbers in double precision")
    if t.builder.nodes[x.node].dtype == "float32":
        raise NotExpressibleError(f"a conversion to {like.dtype}")
    return x


def _reshape(t: Translator, like: Tensor, x: Traced, *_: Any, **__: Any) -> Traced:
    return t.reshaped(x, like)


def _linear(t: Translator, like: Tensor, x: Traced, weight: Any, bias: Any = None) -> Traced:
    if _varies([weight, bias]):
        raise NotExpressibleError("a layer whose weights are computed from the observation")
    t.axis_of(x, -1)
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    operation = Dense(weight=_array(weight), bias=_array(bias))
    return Traced(t.builder.add(operation, t.builder.real(x.node)), x.axis)


def _addmm(t: Translator, like: Tensor, bias: Any, x: Traced, weight: Any, **__: Any) -> Traced:
    if __ or _varies([weight, bias]):
        raise NotExpressibleError("a layer whose weights are computed from the observation")
    return _linear(t, like, x, weight.t(), bias)


def _matmul(t: Translator, like: Tensor, x: Any, weight: Any) -> Traced:
    if _varies([weight]) or weight.dim() != 2:
        raise NotExpressibleError("a product of two computed matrices, as in attention")
    return _linear(t, like, x, weight.t())


def _conv(
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
    axes = weight.dim() - 2
    if groups != 1 or x.axis != 0 or axes > 2 or isinstance(padding, str):
        raise NotExpressibleError(
            "a convolution that is grouped, three-dimensional or padded by name"
        )
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
    operation = Conv(weight=kernel, bias=_array(bias), stride=sizes[0], dilation=sizes[2])
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


def _lstm(t: Translator, like: Any, x: Any, *args: Any) -> Any:
    return _recurrent(t, like, x, *args, gates=4)


def _gru(t: Translator, like: Any, x: Any, *args: Any) -> Any:
    return _recurrent(t, like, x, *args, gates=3)


def _permute(t: Translator, like: Tensor, x: Traced, order: Sequence[int]) -> Traced:
    rank = len(order)
    order = [i % rank for i in order]
    places = [i - (i > x.axis) for i in order if i != x.axis]
    return Traced(t.builder.add(Permute(order=tuple(places)), x.node), order.index(x.axis))


def _transpose(t: Translator, like: Tensor, x: Traced, one: int = 0, other: int = 1) -> Traced:
    order = list(range(like.dim()))
    order[one], order[other] = order[other], order[one]
    return _permute(t, like, x, order)


def _cat(t: Translator, like: Tensor, parts: Sequence[Any], dim: int = 0) -> Traced:
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


def _stack(t: Translator, like: Tensor, parts: Sequence[Any], dim: int = 0) -> Traced:
    dim %= like.dim()
    shape = list(like.shape)
    shape[dim] = 1
    one = torch.empty(shape, device="meta")
    apart = [
        t.reshaped(part, one) if isinstance(part, Traced) else part.unsqueeze(dim) for part in parts
    ]
    return _cat(t, like, apart, dim)


def _slice(
    t: Translator,
    like: Tensor,
    x: Traced,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Traced:
    if dim % like.dim() == x.axis:
        if like.shape[x.axis] == t.batch:
            return x
        raise NotExpressibleError("a part of the batch")
    axis = t.axis_of(x, dim)
    indices = np.arange(t.shape(x)[axis])[slice(start, end, step)]
    return Traced(t.builder.add(Take(axis=axis, indices=indices), x.node), x.axis)


def _select(t: Translator, like: Tensor, x: Traced, dim: int, index: int) -> Traced:
    axis = t.axis_of(x, dim)
    index %= t.shape(x)[axis]
    return t.reshaped(Traced(t.builder.part(x.node, axis, index, index + 1), x.axis), like)


def _index_select(t: Translator, like: Tensor, x: Traced, dim: int, index: Any) -> Traced:
    if _varies([index]):
        raise NotExpressibleError("positions that are computed from the observation")
    operation = Take(axis=t.axis_of(x, dim), indices=index.numpy().astype(np.int64))
    return Traced(t.builder.add(operation, x.node), x.axis)


def _split(t: Translator, like: Any, x: Traced, sizes: Any, dim: int = 0) -> Any:
    axis = t.axis_of(x, dim)
    width = t.shape(x)[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, width - at) for at in range(0, width, sizes)]
    ends = np.cumsum(sizes)
    return tuple(
        Traced(t.builder.part(x.node, axis, int(end - size), int(end)), x.axis)
        for size, end in zip(sizes, ends, strict=True)
    )


def _chunk(t: Translator, like: Any, x: Traced, count: int, dim: int = 0) -> Any:
    return _split(t, like, x, -(-t.shape(x)[t.axis_of(x, dim)] // count), dim)


def _pad(
    t: Translator,
    like: Tensor,
    x: Traced,
    widths: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Traced:
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


def _clamp(t: Translator, like: Tensor, x: Traced, low: Any = None, high: Any = None) -> Traced:
    if _varies([low, high]):
        raise NotExpressibleError("bounds that are computed from the observation")
    bounds = []
    for bound, open_end in ((low, -np.inf), (high, np.inf)):
        node = t.operand(open_end if bound is None else bound, like)
        bounds.append(t.builder.nodes[node].operation.value)  # type: ignore[attr-defined]
    operation = Clip(low=bounds[0], high=bounds[1])
    return Traced(t.builder.add(operation, t.builder.real(x.node)), x.axis)


def _one_hot(t: Translator, like: Tensor, x: Traced, size: int = -1) -> Traced:
    return Traced(t.builder.add(OneHot(size=like.shape[-1]), x.node), x.axis)


def _argmax(
    t: Translator, like: Tensor, x: Traced, dim: int | None = None, keepdim: bool = False
) -> Traced:
    if dim is None:
        raise NotExpressibleError("the largest element of a whole batch")
    return _along_last(t, like, x, dim, ArgMax())


def _argmin(t: Translator, like: Tensor, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    return _argmax(t, like, t.unary(x, "neg"), *args, **kwargs)


def _softmax(t: Translator, like: Tensor, x: Traced, dim: int, *_: Any, **__: Any) -> Traced:
    if dim % like.dim() != like.dim() - 1:
        raise NotExpressibleError("a softmax over another axis than the last")
    t.axis_of(x, dim)
    return Traced(t.builder.add(Softmax(), t.builder.real(x.node)), x.axis)


def _log_softmax(t: Translator, like: Tensor, x: Traced, dim: int, *_: Any, **__: Any) -> Traced:
    return t.unary(_softmax(t, like, x, dim), "log")


def _along_last(t: Translator, like: Tensor, x: Traced, dim: int, operation: Any) -> Traced:
    axis = t.axis_of(x, dim)
    rank = len(t.shape(x))
    order = (*(i for i in range(rank) if i != axis), axis)
    node = t.builder.add(operation, t.builder.add(Permute(order=order), x.node))
    left = Traced(node, x.axis - (dim % (rank + 1) < x.axis))
    return t.reshaped(left, like)


def _reduce(kind: str) -> Handler:
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


def _layer_norm(
    t: Translator,
    like: Tensor,
    x: Traced,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Traced:
    if len(shape) != 1:
        raise NotExpressibleError("a layer norm over several axes")
    mean_like = torch.empty((*like.shape[:-1], 1), device="meta")
    mean = _reduce("mean")(t, mean_like, x, [-1], True)
    centred = t.binary("sub", x, mean, like)
    variance = _reduce("mean")(t, mean_like, t.unary(centred, "square"), [-1], True)
    deviation = t.unary(t.binary("add", variance, epsilon, mean_like), "sqrt")
    found = t.binary("div", centred, deviation, like)
    found = found if weight is None else t.binary("mul", found, weight, like)
    return found if bias is None else t.binary("add", found, bias, like)


def _where_bound(kind: str) -> Handler:
    return lambda t, like, x, y: t.binary(kind, x, y, like)


def _elu(t: Translator, like: Tensor, x: Traced, alpha: float = 1.0, *scales: float) -> Traced:
    if any(scale != 1 for scale in scales):
        raise NotExpressibleError("a scaled elu")
    return t.unary(x, "elu", alpha)


def _gelu(t: Translator, like: Tensor, x: Traced, approximate: str = "none") -> Traced:
    if approximate != "none":
        raise NotExpressibleError("an approximate gelu")
    return t.unary(x, "gelu")


def _pow(t: Translator, like: Tensor, x: Any, exponent: Any) -> Traced:
    if exponent == 2:
        return t.unary(x, "square")
    if exponent == 0.5:
        return t.unary(x, "sqrt")
    raise NotExpressibleError("a power other than 2")


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


HANDLERS: dict[Any, Handler] = {
    operator.getitem: lambda t, like, parts, index: parts[index],
    **{kind: _unary(kind) for kind in (
        "tanh", "relu", "sigmoid", "silu", "exp", "log", "neg", "abs", "sqrt", "square",
    )},
    "softplus": lambda t, like, x, beta=1, threshold=20: (
        t.unary(x, "softplus") if beta == 1 else _refuse("a scaled softplus")
    ),
    "elu": _elu,
    "gelu": _gelu,
    "leaky_relu": lambda t, like, x, slope=0.01: t.unary(x, "leaky_relu", slope),
    "rsqrt": lambda t, like, x: t.binary("div", 1.0, t.unary(x, "sqrt"), like),
    "reciprocal": lambda t, like, x: t.binary("div", 1.0, x, like),
    "pow": _pow,
    "add": _binary("add"),
    "sub": _binary("sub"),
    "rsub": lambda t, like, x, y: t.binary("sub", y, x, like),
    "mul": _binary("mul"),
    "div": _binary("div"),
    "maximum": _where_bound("max"),
    "minimum": _where_bound("min"),
    "linear": _linear,
    "addmm": _addmm,
    "mm": _matmul,
    "matmul": _matmul,
    "conv1d": _conv,
    "conv2d": _conv,
    "lstm": _lstm,
    "gru": _gru,
    "layer_norm": _layer_norm,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "cat": _cat,
    "stack": _stack,
    "slice": _slice,
    "select": _select,
    "index_select": _index_select,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _chunk,
    "pad": _pad,
    "constant_pad_nd": lambda t, like, x, widths, value=0.0: _pad(
        t, like, x, widths, "constant", value
    ),
    "clamp": _clamp,
    "clamp_min": lambda t, like, x, low: _clamp(t, like, x, low),
    "clamp_max": lambda t, like, x, high: _clamp(t, like, x, None, high),
    "hardtanh": lambda t, like, x, low=-1.0, high=1.0: _clamp(t, like, x, low, high),
    "one_hot": _one_hot,
    "argmax": _argmax,
    "argmin": _argmin,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "amax": _reduce("max"),
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten"), _reshape
    ),
    **dict.fromkeys(
        ("clone", "detach", "alias", "contiguous", "dropout", "_assert_tensor_metadata", "lift_fresh"),
        _same,
    ),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _to),
    "broadcast_tensors": lambda t, like, parts: (
        tuple(parts)
        if len({tuple(part.shape) for part in like}) == 1
        and all(
            isinstance(part, Traced) and math_size(t.shape(part)) == part_like.numel() // t.batch
            for part, part_like in zip(parts, like, strict=True)
        )
        else _refuse("a broadcast of tensors")
    ),
    "expand": lambda t, like, x, *_, **__: (
        t.reshaped(x, like)
        if math_size(t.shape(x)) * t.batch == like.numel()
        else _refuse("an expansion along an axis")
    ),
}  # fmt: skip


def math_size(shape: Sequence[int]) -> int:
    """How many elements a shape has."""
    return int(np.prod(shape))


def _refuse(what: str) -> Any:
    raise NotExpressibleError(what)
