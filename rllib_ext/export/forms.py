"""The forms of an export: what each writes, how each is run again; neither Ray nor RLlib is needed."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_run import CompiledPolicy
from rllib_ext.export.c_text import FLOAT, Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program
from rllib_ext.export.storage import read_program, write_program

FORMATS = ("c", "onnx", "numpy", "torch")
# The same in every form: what was exported, without code.
PROGRAM = "policy.npz"
LOADER = "policy.py"
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Choices about what is written.

    Attributes:
        format: One of `FORMATS`.
        name: Prefix of all that is visible in C, and of C's files.
        numbers: Number format of C.
        about: Lines that describe the policy.
        metadata: Plain text by name, for ONNX.
    """

    format: str
    name: str = "policy"
    numbers: Numbers = FLOAT
    about: tuple[str, ...] = ()
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """The files of an export.

    Attributes:
        main: Name of the file that runs.
        facts: Plain values that go into `policy.json`.
    """

    main: str
    facts: dict[str, Any]


def write_form(
    folder: Path, program: Program, choice: Choice, vectors: Sequence[dict[str, Array]] = ()
) -> Written:
    """Writes a program in one form.

    Args:
        folder: Existing destination folder.
        program: Program to write.
        choice: Choices about what is written.
        vectors: Test vectors, as `rllib_ext.export.c_form.write_c` takes them.

    Raises:
        ExportError: This form can't be written; says why.
    """
    write_program(folder / PROGRAM, program)
    if choice.format == "numpy":
        loader = Path(__file__).with_name("numpy_loader.py")
        (folder / LOADER).write_text(loader.read_text(encoding="utf-8"), encoding="utf-8")
        return Written(main=PROGRAM, facts={})
    if choice.format == "c":
        source = write_c(program, choice.numbers, choice.name, choice.about, vectors)
        (folder / f"{choice.name}.h").write_text(source.header, encoding="utf-8")
        (folder / f"{choice.name}.c").write_text(source.source, encoding="utf-8")
        facts = {
            "numbers": choice.numbers.real,
            "int8_weights": choice.numbers.int8,
            "matrices": list(source.kinds),
            "stack_bytes": source.stack,
        }
        return Written(main=f"{choice.name}.c", facts=facts)
    if choice.format == "onnx":
        from rllib_ext.export.onnx_form import write_onnx

        write_onnx(folder / "policy.onnx", program, choice.metadata)
        return Written(main="policy.onnx", facts={})
    if choice.format == "torch":
        from rllib_ext.export.torch_form import write_torch

        write_torch(folder / "policy.pt2", program)
        return Written(main="policy.pt2", facts={})
    raise ExportError(f"format {choice.format!r}; expected one of {', '.join(FORMATS)}.")


def run_form(folder: Path, program: Program, described: Mapping[str, Any]) -> Run | None:
    """Returns a function that runs an export; None for numpy's, which the loader runs.

    Args:
        folder: The export's.
        program: Program from the export's `PROGRAM`.
        described: Its "form", as `policy.json` has it.

    Raises:
        ExportError: It isn't what prunefront wrote, or what runs it is missing here.
    """
    kind, main = described.get("format"), str(described.get("main"))
    if kind == "numpy":
        return None
    if kind == "c":
        numbers = Numbers(str(described["numbers"]), bool(described["int8_weights"]))
        return _compiled(folder, program, numbers, main.removesuffix(".c"))
    if kind == "onnx":
        from rllib_ext.export.onnx_run import onnx_run

        return onnx_run(folder / "policy.onnx", program)
    if kind == "torch":
        from rllib_ext.export.torch_run import torch_run

        return torch_run(folder / "policy.pt2", program)
    raise ExportError(
        f"{folder} says it is in the form {kind!r}; expected one of {', '.join(FORMATS)}."
    )


def _compiled(folder: Path, program: Program, numbers: Numbers, name: str) -> Run:
    """C is code: what runs is written anew from the weights, and the file must say the same."""
    written = write_c(program, numbers, name, ())
    texts = {"h": written.header, "c": written.source}
    for suffix, text in texts.items():
        found = (folder / f"{name}.{suffix}").read_text(encoding="utf-8")
        if _body(found, name) != _body(text, name):
            raise ExportError(
                f"{folder / name}.{suffix} is not what this version of prunefront writes for "
                f"{PROGRAM}, and C is code that would run. Export the policy again, or compile the "
                "file yourself if you trust it."
            )
    with tempfile.TemporaryDirectory(prefix="prunefront-") as scratch:
        for suffix, text in texts.items():
            (Path(scratch) / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        return CompiledPolicy(program, numbers, Path(scratch) / f"{name}.c", name).run


def _body(text: str, name: str) -> str:
    """A file in C without the comment that says what it is, and without its self-test."""
    behind = text.partition("*/\n")[2] if text.startswith("/*\n") else text
    return behind.partition(f"\n#ifdef {name.upper()}_TEST\n")[0].rstrip("\n")


def read(folder: Path) -> Program:
    """The program of an export, without running anything."""
    return read_program(folder / PROGRAM)
