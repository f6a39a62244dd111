"""Compiles a policy in C and calls it from Python."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ext.export.c_form import Field, fields_of
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError, MismatchError
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
FAST = ("-O3", "-march=native")
_TIMEOUT_S = 300
_CTYPES: dict[str, Any] = {
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "int32_t": ctypes.c_int32,
    "uint8_t": ctypes.c_uint8,
}


def compiler() -> str | None:
    """The C compiler of this machine: $CC, cc, gcc or clang; None where there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    return None


def compiled(sources: Sequence[Path], target: Path, *options: str, cc: str | None = None) -> None:
    """Compiles, with all warnings as errors.

    Raises:
        ExportError: There is no compiler, it refuses the source, or takes minutes over it.
    """
    cc = cc or compiler()
    if cc is None:
        raise ExportError(
            "there is no C compiler here (looked for $CC, cc, gcc and clang). Install one, such as with "
            "`apt install gcc`, or take the export to where one is."
        )
    command = [cc, *STRICT, *options, *map(str, sources), "-o", str(target), "-lm"]
    if "-c" in options:
        command.remove("-lm")
    done = _done(command, f"{cc} on {sources[0].name}")
    if done.returncode:
        raise ExportError(f"{cc} refuses {sources[0]}:\n{done.stderr.strip()[:2000]}")


def self_test(source: Path) -> str:
    """Compiles a policy with its test vectors and runs them; gives what it says.

    Raises:
        ExportError: It doesn't come to an end.
        MismatchError: A decision is not as expected.
    """
    with tempfile.TemporaryDirectory(prefix="prunefront-") as folder:
        target = Path(folder) / "test"
        compiled([source], target, "-O2", f"-D{source.stem.upper()}_TEST")
        done = _done([str(target)], f"the self-test of {source.name}")
    if done.returncode:
        raise MismatchError(
            f"the self-test of {source.name} fails: {done.stdout.strip()[:500]}. Nothing was written. "
            "Take another --format, and please report this."
        )
    return done.stdout.strip()


def _done(command: list[str], name: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{name} takes more than {_TIMEOUT_S} seconds, and was ended. Export a sparser policy, or "
            "take another --format."
        ) from error


@dataclasses.dataclass(frozen=True)
class Structs:
    """The structs of a policy in C, as ctypes has them, and their fields."""

    given: type[ctypes.Structure]
    state: type[ctypes.Structure]
    out: type[ctypes.Structure]
    fields: tuple[list[Field], list[Field], list[Field]]


class CompiledPolicy:
    """Runs a policy's C.

    Args:
        program: Program that the code computes.
        numbers: How.
        source: Its .c file, with the header beside it.
        name: Prefix of its functions.
    """

    def __init__(self, program: Program, numbers: Numbers, source: Path, name: str) -> None:
        self.structs = structs_of(program, numbers)
        self._shapes = {r.name: program.nodes[r.node].shape for r in program.results}
        self._shapes |= {c.name: c.initial.shape for c in program.carried}
        with tempfile.TemporaryDirectory(prefix="prunefront-") as folder:
            target = Path(folder) / f"{name}.so"
            compiled([source], target, *FAST, "-shared", "-fPIC")
            library = ctypes.CDLL(str(target))
        self._act: Any = getattr(library, f"{name}_act")
        self._act.restype = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """A batch of decisions, one after the other: arrays by name in and out."""
        given, state, out = self.structs.fields
        size = len(next(iter(feeds.values())))
        found = {f.name: np.empty((size, f.size), f.dtype) for f in (*out, *state)}
        ready = {
            f.name: np.ascontiguousarray(feeds[f.name], f.dtype).reshape(size, f.size)
            for f in (*given, *state)
        }
        one, kept, result = self.structs.given(), self.structs.state(), self.structs.out()
        arguments = ctypes.byref(kept), ctypes.byref(one), ctypes.byref(result)
        for row in range(size):
            for struct, fields in ((one, given), (kept, state)):
                for f in fields:
                    _view(struct, f)[:] = ready[f.name][row]
            self._act(*arguments)
            for struct, fields in ((result, out), (kept, state)):
                for f in fields:
                    found[f.name][row] = _view(struct, f)
        return {name: v.reshape(size, *self._shapes[name]) for name, v in found.items()}


def _view(struct: ctypes.Structure, field: Field) -> Array:
    return np.frombuffer(getattr(struct, field.name), field.dtype)


def structs_of(program: Program, numbers: Numbers) -> Structs:
    """Returns the structs of a policy in C.

    Args:
        program: Program that the code computes.
        numbers: How.
    """
    fields = fields_of(program, numbers)
    kinds = []
    for part in fields:
        members = [(f.name, _CTYPES[f.type] * f.size) for f in part]
        members = members or [("unused", ctypes.c_uint8 * 1)]
        kinds.append(type("Struct", (ctypes.Structure,), {"_fields_": members}))
    return Structs(kinds[0], kinds[1], kinds[2], fields)
