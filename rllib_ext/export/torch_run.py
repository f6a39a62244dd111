"""Runs an exported policy with torch, and lets no code in.

`torch.export.load` unpickles (example inputs, weights that ask for it), looks names up in torch and
evaluates text as formulas: a file can so run code of its own. What is read here is first cut down to a
list of what a policy's program holds.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program

# Files of an archive, behind its own name: those that are read, and those that hold plain marks.
_READ = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|"
    r"data/constants/(tensor_\d+|model_constants_config\.json)|models/model\.json"
)
_EXAMPLES = "data/sample_inputs/model.pt"
_MARKS = re.compile(r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)")
_TARGET = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.(getitem|add|sub|mul|floordiv)")
_FORMULA = re.compile(
    r"Symbol\('s\d+'(, positive=True)?(, integer=True)?\)|Integer\(\d+\)|Mul|Add|\d+"
)
_FORBIDDEN = ("as_custom_obj", "as_graph", "as_operator", "as_opaque")
# Larger ones are no policy's.
_LARGEST = 2**30


def torch_run(path: Path, program: Program) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Returns a function that runs a program of torch.export: arrays by name in and out.

    Args:
        path: The .pt2 file.
        program: Program that it was made from; names the inputs and results.

    Raises:
        ExportError: The file is damaged, or holds what could run code.
    """
    module: Any = torch.export.load(io.BytesIO(_harmless(path))).module(check_guards=False)
    names_in = [g.name for g in program.given] + [c.name for c in program.carried]
    names_out = [r.name for r in program.results] + [c.name for c in program.carried]

    @torch.inference_mode()
    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in names_in]
        found = module(*tensors)
        return {name: value.numpy() for name, value in zip(names_out, found, strict=True)}

    return run


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Holds torch to one thread, and gives it back those that it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _harmless(path: Path) -> bytes:
    """An archive with nothing in it that torch would unpickle, look up or evaluate."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise _refused(path, "it is larger than a policy can be")
            files = {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise ExportError(f"{path} can't be read: {error}. Export the policy again.") from error
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            inner = name.partition("/")[2]
            if inner == _EXAMPLES:
                # A pickle that nothing needs.
                content = b""
            elif _READ.fullmatch(inner):
                content = _checked(path, inner, content) if inner.endswith(".json") else content
            elif not _MARKS.fullmatch(inner):
                raise _refused(path, f"it holds {inner!r}, which a policy has no use for")
            archive.writestr(name, content)
    return into.getvalue()


def _checked(path: Path, name: str, content: bytes) -> bytes:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise ExportError(f"{path} can't be read: {error}. Export the policy again.") from error
    if not isinstance(values, dict):
        raise _refused(path, f"{name} holds no object")
    if name != "models/model.json":
        for entry in (e for e in _mappings(values) if "path_name" in e):
            if entry.get("use_pickle") is not False:
                raise _refused(path, "weights in it are pickled")
            if not re.fullmatch(r"(weight|tensor)_\d+", str(entry["path_name"])):
                raise _refused(path, f"it reads {entry['path_name']!r}")
        return content
    if values.get("guards_code"):
        raise _refused(path, "it holds Python code")
    for entry in _mappings(values):
        target = entry.get("target")
        if isinstance(target, str) and "inputs" in entry and not _TARGET.fullmatch(target):
            raise _refused(path, f"it calls {target!r}")
        formula = str(entry.get("expr_str", ""))
        if re.sub(r"[\s(),]", "", _FORMULA.sub("", formula)):
            raise _refused(path, f"it evaluates {formula[:80]!r}")
        if found := [key for key in _FORBIDDEN if key in entry]:
            raise _refused(path, f"it holds {found[0]}")
        if "metadata" in entry:
            # Names of Python's functions, for error messages only.
            entry["metadata"] = {}
    return json.dumps(values).encode()


def _mappings(values: Any) -> Iterator[dict[str, Any]]:
    """All mappings in nested plain values, the outer ones first."""
    if isinstance(values, dict):
        yield values
        for value in values.values():
            yield from _mappings(value)
    elif isinstance(values, list):
        for value in values:
            yield from _mappings(value)


def _refused(path: Path, what: str) -> ExportError:
    return ExportError(
        f"{path} is refused: {what}, and loading it could run code. Expected a file that `prunefront "
        "export` wrote; export the policy again."
    )
