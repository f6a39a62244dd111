"""Calls of a network that repeat: noted once for each shape, operation by operation, and then replayed.

A module's own Python code, and what `torch.func.vmap` does around each operation, take longer than a
small network's arithmetic. Without either, the same operations on the same shapes give the same bits.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from rllib_ext.packed.computation import Parameters

aten = torch.ops.aten
# Calls of a shape before it is noted, which takes as long as some forty of them.
OFTEN = 24


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
        self._names = tuple(names)
        self._calls: collections.Counter[Any] = collections.Counter()
        self._noted: dict[Any, Callable[..., Tensor]] = {}

    def __call__(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Calls the function; arguments as it takes them."""
        shape = (observations.shape, observations.dtype)
        noted = self._noted.get(shape)
        with torch.no_grad():
            if noted is not None:
                return noted(observations, *[parameters[name] for name in self._names])
            self._calls[shape] += 1
            if self._calls[shape] >= OFTEN:
                self._noted[shape] = self._note(parameters, observations)
            return self._function(parameters, observations)

    def _note(self, parameters: Parameters, observations: Tensor) -> Callable[..., Tensor]:
        def flat(observed: Tensor, *values: Tensor) -> Tensor:
            return self._function(dict(zip(self._names, values, strict=True)), observed)

        noted = make_fx(flat)(observations, *[parameters[name] for name in self._names])
        _shorten(noted)
        return noted.forward


def _shorten(noted: GraphModule) -> None:
    """Leaves out what changes nothing: shapes that stay as they are, factors of 1, the critic's part."""
    graph = noted.graph
    if not any(_writes(node) for node in graph.nodes):
        for node in graph.nodes:
            if node.op == "call_function" and _is_idle(node):
                node.replace_all_uses_with(node.args[0])
    graph.eliminate_dead_code()
    noted.recompile()


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and (schema is None or schema.is_mutable)


def _is_idle(node: Node) -> bool:
    if node.target is aten.mul.Scalar:
        return bool(node.args[1] == 1 and node.args[0].meta["val"].dtype == node.meta["val"].dtype)
    if node.target not in (aten.view.default, aten._unsafe_view.default, aten.expand.default):
        return False
    return bool(node.args[0].meta["val"].shape == node.meta["val"].shape)
