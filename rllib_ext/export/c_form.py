"""A program as one C99 header and one source: no malloc, nothing but math.h."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rllib_ext.export.c_memory import REAL, kind_of, plan
from rllib_ext.export.c_operations import write
from rllib_ext.export.c_place import Place, Written
from rllib_ext.export.c_text import REALS, Numbers, reals, size, table
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array, Constant, Input, Reshape, State
from rllib_ext.export.program import Node, Program

# The relative error that the self-test allows.
SELF_TEST = {"float": 1e-4, "double": 1e-5}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a struct.

    Attributes:
        name: Its own.
        type: C's.
        dtype: numpy's.
        size: Elements.
    """

    name: str
    type: str
    dtype: str
    size: int


@dataclasses.dataclass(frozen=True)
class Source:
    """The C source of a program.

    Attributes:
        header: The header's text.
        source: The source's.
        stack: Bytes of the stack that a decision takes for values, at most.
        kinds: Form of each matrix: "written out", "sparse" or "dense".
    """

    header: str
    source: str
    stack: int
    kinds: tuple[str, ...]


def fields_of(program: Program, numbers: Numbers) -> tuple[list[Field], list[Field], list[Field]]:
    """The fields of what comes in, of the state and of what comes out, in the structs' order."""
    places = program.numbers
    given = [_field(g.name, program.nodes[places[g.name]], numbers) for g in program.given]
    state = [_field(c.name, program.nodes[c.source], numbers) for c in program.carried]
    out = [_field(r.name, program.nodes[r.node], numbers) for r in program.results]
    return given, state, out


def write_c(
    program: Program,
    numbers: Numbers,
    name: str,
    about: Sequence[str],
    vectors: Sequence[dict[str, Array]] = (),
) -> Source:
    """Writes a program in C99.

    Args:
        program: Program to write.
        numbers: Number format of the computation.
        name: Prefix of all that is visible; a C identifier.
        about: Lines of the header's comment.
        vectors: Decisions in a row from a reset on: what comes in and out, by name, for the self-test
            that the macro NAME_TEST compiles.

    Raises:
        ExportError: The name is no C identifier.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ExportError(
            f"{name!r} is no name in C; expected letters, digits and _, a letter first."
        )
    written = Written(numbers)
    memory = plan(program)
    statements: list[str] = []
    for number, node in enumerate(program.nodes):
        if isinstance(node.operation, Constant):
            written.tables.append(_constant(numbers, number, node))
        elif not isinstance(node.operation, Input | State | Reshape) and not (
            memory.places[number] not in memory.pieces
        ):
            statements.append(
                write(
                    written,
                    Place(
                        name=f"t{number}",
                        node=node,
                        shapes=[program.nodes[i].shape for i in node.inputs],
                        sources=[memory.places[i] for i in node.inputs],
                        target=memory.places[number],
                        spare=memory.spare.get(number, ""),
                    ),
                )
            )
    given, state, out = fields_of(program, numbers)
    copies = [
        (f"out->{f.name}", f, memory.places[r.node])
        for f, r in zip(out, program.results, strict=True)
    ]
    pieces = [
        (numbers.real if kind == REAL else "int32_t", piece, count)
        for piece, (kind, count) in memory.pieces.items()
    ]
    updates = [(f, memory.places[c.update]) for f, c in zip(state, program.carried, strict=True)]
    # What another state was before the decision may be written over when it is copied.
    apart = {f.name: f"kept_{f.name}" for f, place in updates if "state->" in place}
    pieces += [(f.type, apart[f.name], f.size) for f in state if f.name in apart]
    copies += [(apart[f.name], f, place) for f, place in updates if f.name in apart]
    copies += [(f"state->{f.name}", f, apart.get(f.name, place)) for f, place in updates]
    body = "".join(f"    {type_} {piece}[{count}];\n" for type_, piece, count in pieces)
    body += "".join(statements)
    body += "".join(_copy(target, f, place) for target, f, place in copies)
    body += "" if state else "    (void)state;\n"
    # A policy that always does the same reads nothing.
    body += "" if "in->" in body else "    (void)in;\n"
    reset = "".join(
        _fill(written, f, c.initial) for f, c in zip(state, program.carried, strict=True)
    )
    stack = sum(count * (4 if type_ != "double" else 8) for type_, _, count in pieces)
    return Source(
        header=_header(name, about, given, state, out),
        source=_source(name, [*written.tables, *written.functions], reset, body, bool(state))
        + _self_test(name, numbers, given, out, vectors),
        stack=stack,
        kinds=tuple(written.kinds),
    )


def _field(name: str, node: Node, numbers: Numbers) -> Field:
    count = max(size(node.shape), 1)
    if kind_of(node) == REAL:
        real, _, kind = REALS[numbers.real]
        return Field(name, real, np.dtype(kind).name, count)
    if node.dtype == "uint8" and isinstance(node.operation, Input):
        return Field(name, "uint8_t", "uint8", count)
    return Field(name, "int32_t", "int32", count)


def _constant(numbers: Numbers, number: int, node: Node) -> str:
    value: Any = node.operation
    if kind_of(node) == REAL:
        return table(numbers.real, f"c{number}", reals(numbers, value.value))
    return table("int32_t", f"c{number}", value.value.ravel())


def _copy(target: str, field: Field, place: str) -> str:
    if field.size == 1:
        return f"    {target}[0] = {place}[0];\n"
    return f"    for (int i = 0; i < {field.size}; i++) {target}[i] = {place}[i];\n"


def _fill(written: Written, field: Field, initial: Array) -> str:
    flat = initial.ravel()
    if (flat == flat[0]).all():
        value = written.numbers.literal(float(flat[0]))
    else:
        written.tables.append(
            table(field.type, f"initial_{field.name}", reals(written.numbers, flat))
        )
        value = f"initial_{field.name}[i]"
    return f"    for (int i = 0; i < {field.size}; i++) state->{field.name}[i] = {value};\n"


def _struct(name: str, part: str, fields: Sequence[Field]) -> str:
    inside = "".join(f"    {f.type} {f.name}[{f.size}];\n" for f in fields)
    return f"typedef struct {{\n{inside}}} {name}_{part};\n\n"


def _header(
    name: str,
    about: Sequence[str],
    given: Sequence[Field],
    state: Sequence[Field],
    out: Sequence[Field],
) -> str:
    guard = f"{name.upper()}_H"
    comment = "\n".join(f" * {_harmless(line)}".rstrip() for line in about)
    # C has no empty struct.
    kept = state or [Field("unused", "uint8_t", "uint8", 1)]
    return (
        f"/*\n{comment}\n */\n#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        "/* One observation, as the environment gives it. */\n"
        + _struct(name, "input", given)
        + "/* What the policy remembers. */\n"
        + _struct(name, "state", kept)
        + "/* The action, as the environment takes it, and what it was chosen from. */\n"
        + _struct(name, "output", out)
        + "/* Before each episode. */\n"
        f"void {name}_reset({name}_state *state);\n\n"
        "/* One decision. */\n"
        f"void {name}_act({name}_state *state, const {name}_input *in, {name}_output *out);\n\n"
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
    )


def _harmless(line: str) -> str:
    """Text that can't end a comment: neither by itself, nor by a continued line or a trigraph."""
    return line.replace("*/", "* /").replace("\\", "|").replace("??", "? ?").replace("\n", " ")


def _source(name: str, tables: Sequence[str], reset: str, body: str, stateful: bool) -> str:
    limits = "#include <float.h>\n" if "_MAX" in body + "".join(tables) else ""
    return (
        f'#include "{name}.h"\n\n{limits}#include <math.h>\n\n'
        + "".join(tables)
        + f"\nvoid {name}_reset({name}_state *state) {{\n"
        + (reset if stateful else "    state->unused[0] = 0;\n")
        + f"}}\n\nvoid {name}_act({name}_state *state, const {name}_input *in, {name}_output *out) {{\n"
        + body
        + "}\n"
    )


def _self_test(
    name: str,
    numbers: Numbers,
    given: Sequence[Field],
    out: Sequence[Field],
    vectors: Sequence[dict[str, Array]],
) -> str:
    if not vectors:
        return ""
    macro = f"{name.upper()}_TEST"
    count = len(vectors)
    text = f"\n#ifdef {macro}\n#include <stdio.h>\n\n"
    for field in (*given, *out):
        values = [np.asarray(v[field.name]).ravel() for v in vectors]
        flat = np.concatenate(values)
        words = reals(numbers, flat) if field.type == numbers.real else [str(int(v)) for v in flat]
        text += table(field.type, f"test_{field.name}", words)
    text += (
        f"\nint main(void) {{\n    static {name}_state state;\n    static {name}_input in;\n"
        f"    static {name}_output out;\n    int wrong = 0;\n    {name}_reset(&state);\n"
        f"    for (int t = 0; t < {count}; t++) {{\n"
    )
    for f in given:
        text += (
            f"        for (int i = 0; i < {f.size}; i++) "
            f"in.{f.name}[i] = test_{f.name}[t * {f.size} + i];\n"
        )
    text += f"        {name}_act(&state, &in, &out);\n"
    for f in out:
        expected = f"test_{f.name}[t * {f.size} + i]"
        if f.type == numbers.real:
            values = np.abs(np.concatenate([np.ravel(v[f.name]) for v in vectors]).astype(float))
            bound = SELF_TEST[numbers.real] * max(float(values[values < 1e30].max(initial=0)), 1e-6)
            limit = numbers.literal(bound)
            test = f"!(fabs{numbers.suffix}(out.{f.name}[i] - {expected}) <= {limit})"
            large = numbers.literal(1e30)
            test = f"{expected} > -{large} && {test}"
        else:
            test = f"out.{f.name}[i] != {expected}"
        text += (
            f"        for (int i = 0; i < {f.size}; i++) if ({test}) {{\n"
            f'            printf("decision %d: {f.name}[%d] is %g, expected %g\\n", t, i,\n'
            f"                   (double)out.{f.name}[i], (double){expected});\n"
            f"            wrong++;\n        }}\n"
        )
    return text + (
        "    }\n"
        f'    if (wrong) printf("%d wrong\\n", wrong);\n'
        f'    else printf("{count} decisions as expected\\n");\n'
        f"    return wrong != 0;\n}}\n#endif\n"
    )
