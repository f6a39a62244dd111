"""Turns calls of torch's operations into nodes of a program.

A traced tensor has its batch somewhere among its axes, and a program's node has none: `axis` says where
it was. What no operation computes is refused by name.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.builder import FLOAT, Builder
from rllib_ext.export.operations import Binary, Reshape, Unary


class NotExpressibleError(Exception):
    """A call can't be expressed by a program's operations; the message is a clause that says why."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """A tensor of the trace that varies with what is given.

    Attributes:
        node: Its number in the program.
        axis: Index of the batch axis.
    """

    node: int
    axis: int


Handler = Callable[..., Any]


class Translator:
    """Turns calls of torch's operations into nodes.

    Args:
        builder: Builder that the nodes are added to.
        batch: The size of the batch in the trace; no other axis has it.
        handlers: Handler of each of torch's operations, by its name.
    """

    def __init__(self, builder: Builder, batch: int, handlers: Mapping[Any, Handler]) -> None:
        self.builder = builder
        self.batch = batch
        self._handlers = handlers

    def call(self, target: Any, args: Sequence[Any], kwargs: dict[str, Any], like: Any) -> Any:
        """Translates one call of the trace.

        Args:
            target: torch's operation.
            args: `Traced`, tensors that are the same at each decision, and plain values.
            kwargs: Keyword arguments, of the kinds that `args` has.
            like: Result of the call in the trace, for its shape.

        Raises:
            NotExpressibleError: No operation of a program does that.
        """
        if not varies([*args, *kwargs.values()]):
            return target(*args, **kwargs)
        name = getattr(getattr(target, "overloadpacket", None), "__name__", None)
        handler = self._handlers.get(target if target is operator.getitem else name or "")
        if handler is None:
            raise NotExpressibleError(f"the operation {name or target}")
        return handler(self, like, *args, **kwargs)

    def shape(self, value: Traced) -> tuple[int, ...]:
        """A node's shape, without the batch."""
        return self.builder.shape(value.node)

    def axis_of(self, value: Traced, dim: int) -> int:
        """The node's axis that a tensor's axis is."""
        rank = len(self.shape(value)) + 1
        dim %= rank
        if dim == value.axis:
            raise NotExpressibleError("an operation across the batch")
        return dim - (dim > value.axis)

    def place(self, like: Tensor) -> int:
        """Returns the index of the batch axis in a tensor of the trace."""
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
        nodes = [self.operand(one, like), self.operand(other, like)]
        if any(self.builder.nodes[node].dtype == FLOAT for node in nodes):
            # Some whole numbers of torch, such as those of a one-hot, are real here.
            nodes = [self.builder.real(node) for node in nodes]
        return Traced(self.builder.add(Binary(kind=kind), *nodes), self.place(like))

    def reshaped(self, value: Traced, like: Tensor) -> Traced:
        """The same elements in the shape of a tensor of the trace."""
        place = self.place(like)
        before = int(np.prod(self.shape(value)[: value.axis]))
        if before != int(np.prod(like.shape[:place])):
            raise NotExpressibleError("a reshape that mixes the batch with other axes")
        shape = tuple(int(s) for i, s in enumerate(like.shape) if i != place)
        return Traced(self.builder.add(Reshape(shape=shape), value.node), place)


def varies(values: Any) -> bool:
    """Whether anything among nested values varies with what is given."""
    if isinstance(values, list | tuple):
        return any(varies(value) for value in values)
    return isinstance(values, Traced)


def math_size(shape: Sequence[int]) -> int:
    """Returns the number of elements of a shape."""
    return int(np.prod(shape))


def refuse(what: str) -> Any:
    """Raises `NotExpressibleError`, where only an expression can stand."""
    raise NotExpressibleError(what)
