"""The connections of a policy from observations over units to outputs, for drawings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_ext.export.operations import (
    ArgMax,
    Binary,
    Clip,
    Concat,
    Constant,
    Dense,
    Input,
    Normalise,
    Operation,
    Pad,
    Permute,
    Reshape,
    State,
    Take,
    ToFloat,
    Unary,
)
from rllib_ext.export.program import Node, Program

# A drawing of more connections shows nothing.
MOST_EDGES = 200
_LIKE_ITS_INPUT = (ArgMax, Clip, Normalise, ToFloat, Unary)
# Number of no unit: a constant, or a spread that the mode doesn't need.
_NONE = -1
Units = NDArray[np.int64]
KINDS = ("input", "hidden", "output")


@dataclasses.dataclass(frozen=True)
class Unit:
    """An endpoint of connections.

    Attributes:
        name: Such as "observation[3]", "hidden 2" or "logits[0]"; unique.
        layer: Number of connections on the longest path from an observation to it, ≥ 0.
        kind: "input", "hidden" or "output".
    """

    name: str
    layer: int
    kind: str


@dataclasses.dataclass(frozen=True)
class Wiring:
    """A policy as units and connections.

    Attributes:
        units: Every observation and every output; of hidden units those on a way between them.
        edges: From and to which unit, by their place in `units`, and the weight; all on such a way.
    """

    units: tuple[Unit, ...]
    edges: tuple[tuple[int, int, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Returns plain values that `from_json` reads."""
        return {
            "units": [[u.name, u.layer, u.kind] for u in self.units],
            "edges": [[start, stop, float(f"{weight:.4g}")] for start, stop, weight in self.edges],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Wiring:
        """Reads what `as_json` wrote.

        Raises:
            ValueError: It is no such thing.
        """
        try:
            units = tuple(Unit(str(n), int(layer), str(kind)) for n, layer, kind in found["units"])
            edges = tuple((int(a), int(b), float(weight)) for a, b, weight in found["edges"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no wiring: {error}") from error
        if any(not 0 <= i < len(units) for a, b, _ in edges for i in (a, b)):
            raise ValueError("no wiring: a connection of a unit that is not there")
        last = max((u.layer for u in units if u.kind == "output"), default=0)
        inner = [u for u in units if u.kind == "hidden"]
        if any(u.kind not in KINDS for u in units) or any(not 0 < u.layer < last for u in inner):
            raise ValueError("no wiring: a unit that lies between no input and output")
        return cls(units, edges)


def wiring_of(program: Program) -> Wiring | None:
    """Reads the connections off a program of linear layers and functions of single elements.

    Args:
        program: Program of a policy's export.

    Returns:
        Units and connections; None where there are none or more than `MOST_EDGES`, or where the program
        computes what is no such connection, such as a convolution or a recurrent layer.
    """
    if sum(int(np.count_nonzero(n.operation.weight)) for n in program.nodes
           if isinstance(n.operation, Dense)) > 10 * MOST_EDGES:  # fmt: skip
        return None
    trace = _Trace()
    try:
        found = [trace.follow(node) for node in program.nodes]
    except _NotDrawableError:
        return None
    # The distribution's parameters, but for its spread; a policy that has none gives actions alone.
    parameters = [r for r in program.results if not r.is_action and r.name != "log_std"]
    outputs: dict[int, str] = {}
    for result in parameters or program.results:
        for place, unit in enumerate(found[result.node].ravel()):
            outputs.setdefault(int(unit), f"{result.name}[{place}]")
    outputs.pop(_NONE, None)
    wiring = trace.between(outputs)
    return wiring if 0 < len(wiring.edges) <= MOST_EDGES else None


class _NotDrawableError(Exception):
    """A program computes something that no connection stands for."""


class _Trace:
    """Follows a program: for each element of each node, the unit that it is a function of."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.layers: list[int] = []
        self.inputs: set[int] = set()
        self.edges: list[tuple[int, int, float]] = []
        self._found: list[Units] = []

    def follow(self, node: Node) -> Units:
        """The units of a node's elements, in its shape; `_NONE` of constants."""
        given = [self._found[i] for i in node.inputs]
        units = self._units(node, given)
        self._found.append(units)
        return units

    def between(self, outputs: Mapping[int, str]) -> Wiring:
        """Returns the part on paths from an input to an output, with both ends."""
        ahead = _reached({a: [] for a in self.inputs}, [(a, b) for a, b, _ in self.edges])
        behind = _reached({b: [] for b in outputs}, [(b, a) for a, b, _ in reversed(self.edges)])
        edges = [e for e in self.edges if e[0] in ahead and e[1] in behind]
        on_way = {unit for a, b, _ in edges for unit in (a, b)}
        kept = sorted(on_way | self.inputs | outputs.keys())
        place = {unit: number for number, unit in enumerate(kept)}
        hidden = 0
        units = []
        for unit in kept:
            kind = "output" if unit in outputs else "input" if unit in self.inputs else "hidden"
            hidden += kind == "hidden"
            name = outputs.get(unit, self.names[unit] or f"hidden {hidden}")
            units.append(Unit(name, self.layers[unit], kind))
        return Wiring(tuple(units), tuple((place[a], place[b], w) for a, b, w in edges))

    def _units(self, node: Node, given: Sequence[Units]) -> Units:
        operation = node.operation
        if isinstance(operation, Input | State):
            return self._new_inputs(operation.name, node.shape)
        if isinstance(operation, Constant):
            return np.full(node.shape, _NONE)
        if isinstance(operation, Dense):
            return self._layer(operation, given[0], node.shape)
        if isinstance(operation, Binary):
            return _of_one(*given)
        if isinstance(operation, _LIKE_ITS_INPUT):
            # An index of the largest stands for none of them.
            return np.full(node.shape, _NONE) if isinstance(operation, ArgMax) else given[0]
        return _moved(operation, given)

    def _new_inputs(self, name: str, shape: tuple[int, ...]) -> Units:
        count = int(np.prod(shape))
        first = len(self.names)
        self.names += [f"{name}[{i}]" for i in range(count)]
        self.layers += [0] * count
        self.inputs |= set(range(first, first + count))
        return np.arange(first, first + count).reshape(shape)

    def _layer(self, operation: Dense, given: Units, shape: tuple[int, ...]) -> Units:
        if given.size != operation.weight.shape[1]:
            raise _NotDrawableError
        sources = given.ravel()
        first = len(self.names)
        for row in operation.weight:
            unit = len(self.names)
            heard = [i for i in np.flatnonzero(row) if sources[i] != _NONE]
            self.edges += [(int(sources[i]), unit, float(row[i])) for i in heard]
            self.names.append("")
            self.layers.append(1 + max((self.layers[sources[i]] for i in heard), default=0))
        return np.arange(first, len(self.names)).reshape(shape)


def _of_one(left: Units, right: Units) -> Units:
    """Elements that are functions of one unit at most."""
    both = np.broadcast_arrays(left, right)
    if ((both[0] != _NONE) & (both[1] != _NONE) & (both[0] != both[1])).any():
        raise _NotDrawableError
    return np.asarray(np.maximum(both[0], both[1]))


def _moved(operation: Operation, given: Sequence[Units]) -> Units:
    """Returns units that are only moved to other positions."""
    if isinstance(operation, Reshape):
        return given[0].reshape(operation.shape)
    if isinstance(operation, Permute):
        return given[0].transpose(operation.order)
    if isinstance(operation, Take):
        return np.take(given[0], operation.indices, axis=operation.axis)
    if isinstance(operation, Concat):
        return np.concatenate(given, axis=operation.axis)
    if isinstance(operation, Pad):
        room = list(zip(operation.before, operation.after, strict=True))
        return np.pad(given[0], room, constant_values=_NONE)
    raise _NotDrawableError


def _reached(starts: Mapping[int, Any], steps: Sequence[tuple[int, int]]) -> set[int]:
    """Returns everything reachable over steps given in order."""
    found = set(starts)
    for start, stop in steps:
        if start in found:
            found.add(stop)
    return found
