"""The memory of a program in C: fields of structs, constants, and pieces of the stack."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rllib_ext.export.c_place import spare_size
from rllib_ext.export.c_text import size, strides
from rllib_ext.export.operations import Constant, Input, Reshape, State, Take
from rllib_ext.export.program import Carried, Node, Program

REAL, WHOLE = "real", "whole"


@dataclasses.dataclass(frozen=True)
class Memory:
    """The memory location of each node's values.

    Attributes:
        places: C expression of the first value, by node.
        pieces: Sizes of the pieces of the stack by name: kind (`REAL`, `WHOLE`) and elements.
        spare: Pieces that nodes need beside their result.
    """

    places: Mapping[int, str]
    pieces: Mapping[str, tuple[str, int]]
    spare: Mapping[int, str]


def kind_of(node: Node) -> str:
    """Whether a node's values are real or whole numbers."""
    return REAL if node.dtype == "float32" else WHOLE


def plan(program: Program) -> Memory:
    """Gives every node a place; pieces whose values nobody reads any more are used again."""
    nodes = program.nodes
    owner = [_owner(program, n) for n in range(len(nodes))]
    last = _last_reads(program, owner)
    places: dict[int, str] = {}
    pieces: dict[str, tuple[str, int]] = {}
    spare: dict[int, str] = {}
    free: list[str] = []
    taken: dict[int, list[str]] = {}

    def piece(kind: str, elements: int) -> str:
        fitting = [name for name in free if pieces[name][0] == kind]
        # The one that has to grow least, or has the least to spare.
        fitting.sort(key=lambda name: (pieces[name][1] < elements, abs(pieces[name][1] - elements)))
        if fitting:
            name = fitting[0]
            free.remove(name)
        else:
            name = f"{'v' if kind == REAL else 'n'}{len(pieces)}"
        pieces[name] = (kind, max(elements, pieces.get(name, (kind, 0))[1]))
        return name

    for number, node in enumerate(nodes):
        operation = node.operation
        if isinstance(operation, Input):
            places[number] = f"in->{operation.name}"
        elif isinstance(operation, State):
            places[number] = f"state->{operation.name}"
        elif isinstance(operation, Constant):
            places[number] = f"c{number}"
        elif owner[number] != number:
            first = _start(node, nodes[node.inputs[0]])
            base = places[node.inputs[0]]
            places[number] = f"({base} + {first})" if first else base
        else:
            name = piece(kind_of(node), size(node.shape))
            places[number] = name
            taken[number] = [name]
            if extra := spare_size(operation):
                spare[number] = piece(REAL, extra)
                free.append(spare[number])
        for old in [o for o in taken if last.get(o, o) <= number]:
            free += taken.pop(old)
    return Memory(places, pieces, spare)


def _owner(program: Program, number: int) -> int:
    """The node in whose memory a node's values lie."""
    node = program.nodes[number]
    if isinstance(node.operation, Reshape) or (
        isinstance(node.operation, Take) and _start(node, program.nodes[node.inputs[0]]) is not None
    ):
        return _owner(program, node.inputs[0])
    return number


def _start(node: Node, source: Node) -> int | None:
    """Returns the start of a contiguous part in its source; None if the part isn't contiguous."""
    operation = node.operation
    if not isinstance(operation, Take):
        return 0
    indices = operation.indices
    if size(source.shape[: operation.axis]) != 1 or (indices[1:] - indices[:-1] != 1).any():
        return None
    return int(indices[0]) * strides(source.shape)[operation.axis]


def _last_reads(program: Program, owner: list[int]) -> dict[int, int]:
    last: dict[int, int] = {}
    for number, node in enumerate(program.nodes):
        for source in node.inputs:
            last[owner[source]] = number
    end = len(program.nodes)
    kept: list[int] = [r.node for r in program.results]
    kept += [c.update for c in program.carried if isinstance(c, Carried)]
    for number in kept:
        last[owner[number]] = end
    return last
