"""Forward passes with their gradients: noted once for each shape, and then replayed, there and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from rllib_ext.packed.computation import Parameters
from rllib_ext.packed.replayed import Replays, shorten, writes

Read = Mapping[str, Sequence[Tensor]]
# Of the inputs of distributions and of values, to those of the trained parameters, None of one that
# reaches neither.
Backward = Callable[[Tensor, Tensor], Sequence[Tensor | None]]


@dataclasses.dataclass(frozen=True)
class Passed:
    """The results of a forward pass.

    Attributes:
        inputs: The distributions' inputs.
        values: The values.
        read: Inputs of the layers, by the names of their weights.
        backward: From gradients of the first two to those of the trained parameters.
    """

    inputs: Tensor
    values: Tensor
    read: Read
    backward: Backward


class ReplayedPass:
    """A function whose gradients are taken.

    Args:
        function: From stacked parameters and observations to inputs, values and what layers read; which
            operations it applies depends on nothing but shapes.
        names: All parameters.
        trained: Those whose gradients are taken.
    """

    def __init__(
        self,
        function: Callable[[Parameters, Tensor], tuple[Tensor, Tensor, Read]],
        names: Sequence[str],
        trained: Sequence[str],
    ) -> None:
        self._function = function
        self._trained = tuple(trained)
        self._replays = Replays[_ThereAndBack](names)

    def __call__(self, parameters: Parameters, observations: Tensor) -> Passed:
        """Calls the function; arguments as it takes them."""
        noted = self._replays.get(
            parameters, observations, lambda: self._note(parameters, observations)
        )
        if noted is not None:
            return noted(observations, [parameters[name] for name in self._replays.names])
        leaves = self._leaves(parameters)
        with torch.enable_grad():
            inputs, values, read = self._function(leaves, observations)

        def backward(of_inputs: Tensor, of_values: Tensor) -> Sequence[Tensor | None]:
            return _gradients((inputs, values), (of_inputs, of_values), self._of(leaves))

        return Passed(inputs.detach(), values.detach(), read, backward)

    def _leaves(self, parameters: Parameters) -> dict[str, Tensor]:
        leaves = {name: parameters[name].detach() for name in self._replays.names}
        for name in self._trained:
            leaves[name].requires_grad_()
        return leaves

    def _of(self, leaves: Parameters) -> list[Tensor]:
        return [leaves[name] for name in self._trained]

    def _note(self, parameters: Parameters, observations: Tensor) -> _ThereAndBack | None:
        names: dict[str, int] = {}

        def joint(observed: Tensor, of_inputs: Tensor, of_values: Tensor, *given: Tensor) -> Any:
            leaves = dict(zip(self._replays.names, given, strict=True))
            inputs, values, read = self._function(leaves, observed)
            found = _gradients((inputs, values), (of_inputs, of_values), self._of(leaves))
            names.update({name: len(uses) for name, uses in read.items()})
            return inputs, values, [use for uses in read.values() for use in uses], found

        with torch.enable_grad():
            leaves = self._leaves(parameters)
            tried = self._function(leaves, observations)
            like = [torch.zeros_like(part) for part in tried[:2]]
            graph = make_fx(joint)(observations, *like, *leaves.values())
        return _ThereAndBack.of(graph, names)


@dataclasses.dataclass(frozen=True)
class _ThereAndBack:
    """A recorded forward and backward pass.

    Attributes:
        there: From observations and parameters to inputs, values, what was read, and what is kept.
        back: From what was kept, and the gradients of inputs and values, to those of parameters.
        uses: Number of uses of each weight, in the order of `read`.
    """

    there: Callable[..., Any]
    back: Callable[..., Any]
    uses: Mapping[str, int]

    @classmethod
    def of(cls, joint: GraphModule, uses: Mapping[str, int]) -> _ThereAndBack | None:
        """Parts one graph in two; None where the second would write into what is the first's."""
        _, of_inputs, of_values, *_ = (n for n in joint.graph.nodes if n.op == "placeholder")
        (end,) = (n for n in joint.graph.nodes if n.op == "output")
        late = {of_inputs, of_values}
        for node in joint.graph.nodes:
            if node.op == "call_function":
                if late.intersection(node.all_input_nodes):
                    late.add(node)
                # What is kept on the way there must be there on the way back.
                if node in late and writes(node) and node.args[0] not in late:
                    return None
        inputs, values, read, gradients = end.args[0]
        early = [n for n in joint.graph.nodes if n not in late and n is not end]
        wanted = {n for n in gradients if n is not None}
        kept = [n for n in early if n in wanted or late.intersection(n.users)]
        there, back = Graph(), Graph()
        first: dict[Node, Node] = {}
        for node in early:
            first[node] = there.node_copy(node, first.__getitem__)
        there.output(_copied((inputs, values, read, kept), first))
        second = {node: back.placeholder(f"kept_{i}") for i, node in enumerate(kept)}
        for node, copy in second.items():
            copy.meta = dict(node.meta)
        for node in joint.graph.nodes:
            if node in late:
                second[node] = back.node_copy(node, second.__getitem__)
        back.output(_copied(gradients, second))
        parts = [GraphModule(joint, part) for part in (there, back)]
        for part in parts:
            shorten(part)
        return cls(parts[0].forward, parts[1].forward, dict(uses))

    def __call__(self, observations: Tensor, parameters: Sequence[Tensor]) -> Passed:
        with torch.no_grad():
            inputs, values, read, kept = self.there(observations, *parameters)
        left = iter(read)
        by_name = {name: [next(left) for _ in range(uses)] for name, uses in self.uses.items()}

        def backward(of_inputs: Tensor, of_values: Tensor) -> Sequence[Tensor | None]:
            with torch.no_grad():
                found: Sequence[Tensor | None] = self.back(*kept, of_inputs, of_values)
            return found

        return Passed(inputs, values, by_name, backward)


def _copied(tree: Any, copies: Mapping[Node, Node]) -> Any:
    if isinstance(tree, list | tuple):
        return [_copied(part, copies) for part in tree]
    return copies[tree] if isinstance(tree, Node) else tree


def _gradients(
    outputs: Sequence[Tensor], given: Sequence[Tensor], leaves: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    attached = [i for i, output in enumerate(outputs) if output.requires_grad]
    found: Sequence[Tensor | None] = torch.autograd.grad(
        [outputs[i] for i in attached],
        leaves,
        [given[i] for i in attached],
        allow_unused=True,
    )
    return found
