"""Programs as plain values and arrays, and back: nothing of it is code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array, Operation, arrays_of
from rllib_ext.export.program import Carried, Given, Node, Program, Result
from rllib_ext.export.soundness import attribute, require_sound

OPERATIONS: dict[str, type[Operation]] = {
    kind.__name__.lower(): kind for kind in Operation.__subclasses__()
}


def described(program: Program) -> dict[str, Any]:
    """A program without its weights, as plain values that JSON holds."""
    numbers = program.numbers
    return {
        "nodes": [_node(node) for node in program.nodes],
        "given": [
            {
                **dataclasses.asdict(given),
                "path": list(given.path),
                "shape": list(program.nodes[numbers[given.name]].shape),
                "dtype": program.nodes[numbers[given.name]].dtype,
            }
            for given in program.given
        ],
        "carried": [
            {
                "name": carried.name,
                "source": carried.source,
                "update": carried.update,
                "shape": list(carried.initial.shape),
                "initial": carried.initial.ravel().tolist(),
            }
            for carried in program.carried
        ],
        "results": [
            {
                **dataclasses.asdict(result),
                "path": None if result.path is None else list(result.path),
                "shape": list(program.nodes[result.node].shape),
            }
            for result in program.results
        ],
        "notes": list(program.notes),
    }


def weights_of(program: Program) -> dict[str, Array]:
    """A program's arrays: "<number of the node>.<attribute>"."""
    return {
        f"{number}.{name}": array
        for number, node in enumerate(program.nodes)
        for name, array in arrays_of(node.operation).items()
    }


def nodes_of(program: Program) -> list[dict[str, Any]]:
    """A program's nodes as the loader in numpy computes them."""
    return [
        {**values, **arrays_of(node.operation)}
        for values, node in zip(described(program)["nodes"], program.nodes, strict=True)
    ]


def write_program(path: Path, program: Program) -> None:
    """Writes a program as the loader beside it reads it: .npz, nothing pickled."""
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            description=np.array(json.dumps(described(program))),
            **weights_of(program),
        )


def read_program(path: Path) -> Program:
    """Reads what `write_program` wrote; unpickles nothing.

    Raises:
        ExportError: The file is missing, damaged, or holds something else, such as pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        program = _program(json.loads(str(arrays.pop("description"))), arrays)
        require_sound(program)
    except (OSError, ValueError, LookupError, TypeError, EOFError, AttributeError) as error:
        raise ExportError(
            f"{path} is not an exported policy: {error}. Expected a file that `prunefront export` "
            "wrote; nothing of it is unpickled. Export the policy again."
        ) from error
    return program


def _node(node: Node) -> dict[str, Any]:
    values = {f.name: getattr(node.operation, f.name) for f in dataclasses.fields(node.operation)}
    return {
        "op": type(node.operation).__name__.lower(),
        "inputs": list(node.inputs),
        "shape": list(node.shape),
        "dtype": node.dtype,
        **{
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if not isinstance(value, np.ndarray) and name != "shape"
        },
    }


def _program(found: Mapping[str, Any], arrays: Mapping[str, Array]) -> Program:
    nodes = []
    for number, values in enumerate(found["nodes"]):
        kind = OPERATIONS[values["op"]]
        attributes = {
            f.name: attribute(kind, f, arrays.get(f"{number}.{f.name}", values.get(f.name)))
            for f in dataclasses.fields(kind)
            # An export of an earlier version lacks what has a default since.
            if f.name in values or f.default is dataclasses.MISSING
        }
        nodes.append(
            Node(
                operation=kind(**attributes),
                inputs=tuple(int(i) for i in values["inputs"]),
                shape=tuple(int(size) for size in values["shape"]),
                dtype=str(values["dtype"]),
            )
        )
    return Program(
        nodes=tuple(nodes),
        given=tuple(
            Given(name=g["name"], path=tuple(g["path"]), noise=g["noise"]) for g in found["given"]
        ),
        carried=tuple(
            Carried(
                name=c["name"],
                source=c["source"],
                update=c["update"],
                initial=np.array(c["initial"], np.float32).reshape(c["shape"]),
            )
            for c in found["carried"]
        ),
        results=tuple(
            Result(
                name=r["name"],
                node=r["node"],
                path=None if r["path"] is None else tuple(r["path"]),
                dtype=r["dtype"],
            )
            for r in found["results"]
        ),
        notes=tuple(found["notes"]),
    )
