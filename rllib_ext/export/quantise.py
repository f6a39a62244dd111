"""Weights in 8 bits, each row with a scale of its own; all that is computed stays in real numbers."""

from __future__ import annotations

import dataclasses

import numpy as np

from rllib_ext.export.operations import Array, Conv, Dense, Gru, Lstm
from rllib_ext.export.program import Program


def quantised(matrix: Array) -> tuple[Array, Array]:
    """A matrix in 8 bits: rows of whole numbers from −127 to 127, and a scale for each row.

    Args:
        matrix: (rows, …).

    Returns:
        int8 of the matrix's shape, float32 of shape (rows,).
    """
    flat = matrix.reshape(len(matrix), -1).astype(np.float64)
    scale = (np.abs(flat).max(1) / 127.0).astype(np.float32)
    scale[scale == 0] = 1.0
    whole = np.rint(flat / scale[:, None].astype(np.float64)).astype(np.int8)
    return whole.reshape(matrix.shape), scale


def with_int8_weights(program: Program) -> Program:
    """A program whose layers compute with the weights that 8 bits leave of them; biases stay."""
    nodes = []
    for node in program.nodes:
        operation = node.operation
        if isinstance(operation, Dense | Conv):
            operation = dataclasses.replace(operation, weight=_rounded(operation.weight))
        elif isinstance(operation, Lstm | Gru):
            operation = dataclasses.replace(
                operation,
                weight=_rounded(operation.weight),
                recurrent=_rounded(operation.recurrent),
            )
        nodes.append(dataclasses.replace(node, operation=operation))
    return dataclasses.replace(program, nodes=tuple(nodes))


def _rounded(matrix: Array) -> Array:
    whole, scale = quantised(matrix)
    return (whole * scale.reshape(-1, *[1] * (matrix.ndim - 1))).astype(np.float32)
