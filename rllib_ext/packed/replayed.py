"""Calls of a network that repeat: noted once for each shape, operation by operation, and then replayed.

A module's own Python code, and what `torch.func.vmap` does around each operation, take longer than a
small network's arithmetic. Without either, the same operations on the same shapes give the same bits.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from rllib_ext.packed.computation import Parameters

aten = torch.ops.aten
Noted = TypeVar("Noted")

# Calls of a shape before it is noted, which takes as long as some forty of them.
OFTEN = 24
# Shapes that are noted at most, each of which holds a few hundred kilobytes.
SHAPES = 64


class Replays(Generic[Noted]):
    """Recorded forward passes, by shape of their inputs.

    Args:
        names: The parameters that are read.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._calls: collections.Counter[Any] = collections.Counter()
        # None of what can't be noted.
        self._noted: dict[Any, Noted | None] = {}

    def get(
        self, parameters: Parameters, observations: Tensor, note: Callable[[], Noted | None]
    ) -> Noted | None:
        """Returns the recording for these shapes; None if they are too rare or can't be recorded.

        Args:
            parameters: Stacked, by name.
            observations: Observations of the rows.
            note: Called when it is time for it.
        """
        # How they lie in memory says which operations are views.
        first = parameters[self.names[0]]
        key = (observations.shape, observations.stride(), first.shape, first.stride())
        if key in self._noted:
            return self._noted[key]
        self._calls[key] += 1
        if self._calls[key] <= OFTEN or len(self._noted) == SHAPES:
            return None
        self._noted[key] = note()
        return self._noted[key]


class Replayed:
    """A function of stacked parameters and observations, without gradients.

    Its result depends on nothing else, and which operations it applies on nothing but shapes.

    Args:
        function: The function.
        names: The parameters that it reads.
    """

    def __init__(
        self, function: Callable[[Parameters, Tensor], Tensor], names: Sequence[str]
    ) -> None:
        self._function = function
        self._replays = Replays[Callable[..., Tensor]](names)

    def __call__(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Calls the function; arguments as it takes them."""
        with torch.no_grad():
            noted = self._replays.get(
                parameters, observations, lambda: self._note(parameters, observations)
            )
            if noted is None:
                return self._function(parameters, observations)
            return noted(observations, *[parameters[name] for name in self._replays.names])

    def _note(self, parameters: Parameters, observations: Tensor) -> Callable[..., Tensor]:
        names = self._replays.names

        def flat(observed: Tensor, *values: Tensor) -> Tensor:
            return self._function(dict(zip(names, values, strict=True)), observed)

        noted = make_fx(flat)(observations, *[parameters[name] for name in names])
        shorten(noted)
        return noted.forward


def shorten(noted: GraphModule) -> None:
    """Leaves out, in place, what no result needs, and what changes nothing."""
    graph = noted.graph
    if not any(writes(node) for node in graph.nodes):
        for node in graph.nodes:
            if node.op == "call_function" and _is_idle(node):
                node.replace_all_uses_with(node.args[0])
    graph.eliminate_dead_code()
    noted.recompile()


def writes(node: Node) -> bool:
    """Whether a recorded step writes into its inputs, or may."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and (schema is None or bool(schema.is_mutable))


def _is_idle(node: Any) -> bool:
    """Whether a step returns its input unchanged: unchanged shapes, factors of 1."""
    if node.target not in (
        aten.mul.Scalar,
        aten.view.default,
        aten._unsafe_view.default,
        aten.expand.default,
    ):
        return False
    old, new = node.args[0].meta["val"], node.meta["val"]
    same = bool(old.shape == new.shape and old.dtype == new.dtype)
    return same and (node.target is not aten.mul.Scalar or node.args[1] == 1)
