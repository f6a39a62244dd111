"""Runs an exported policy with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rllib_ext.base.extras import install
from rllib_ext.export.errors import ExportError
from rllib_ext.export.onnx_form import AFTER
from rllib_ext.export.operations import Array
from rllib_ext.export.program import Program


def onnx_run(path: Path, program: Program) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Returns a function that runs a model: arrays by name in and out, with one thread.

    Args:
        path: The .onnx file.
        program: Program of the model; names its state.

    Raises:
        ExportError: onnxruntime is missing, or refuses the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"the package onnxruntime is missing: {install('onnx')}.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ExportError(
            f"{path} is no model that onnxruntime runs: {error}. Export the policy again."
        ) from error
    names = [output.name for output in session.get_outputs()]
    states = {carried.name + AFTER: carried.name for carried in program.carried}

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = session.run(names, dict(feeds))
        return {states.get(name, name): value for name, value in zip(names, found, strict=True)}

    return run
