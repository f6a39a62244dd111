"""The operations of a program: linear layers, activations, changes of shape, draws.

Operations are frozen values: arrays are their weights, everything else are plain numbers and words, so
that `rllib_ext.export.storage` can write any of them without knowing it. Shapes leave the batch out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
# Where a part lies in a nested space: names in dicts, numbers in tuples.
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One step of a computation."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Input(Operation):
    """An input of each decision: a part of the raw observation, or noise.

    Attributes:
        name: Unique in the program.
    """

    name: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class State(Operation):
    """State from the previous decision, or an initial value.

    Attributes:
        name: Unique in the program.
    """

    name: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Constant(Operation):
    """The same value at each decision.

    Attributes:
        value: An array of the node's shape.
    """

    value: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Normalise(Operation):
    """An observation filter: (x − mean) ÷ scale, clipped.

    Attributes:
        mean: float64, of the input's shape.
        scale: float64 > 0, of the input's shape.
        clip: Largest magnitude of the result; infinite without a limit.
    """

    mean: Array
    scale: Array
    clip: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Operation):
    """A linear layer over the last axis.

    Attributes:
        weight: float32, (outputs, inputs); zeros are pruned weights.
        bias: float32, (outputs,).
    """

    weight: Array
    bias: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Operation):
    """A two-dimensional convolution over (channels, height, width), without padding.

    Attributes:
        weight: float32, (outputs, inputs ÷ groups, height, width).
        bias: float32, (outputs,).
        stride: Down and across, ≥ 1.
        dilation: Down and across, ≥ 1.
        groups: Into how many equal parts channels are cut, each with weights of its own, ≥ 1.
    """

    weight: Array
    bias: Array
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """Pooling: one value for each window of (channels, height, width), without padding.

    Attributes:
        kind: "max" or "mean".
        size: Height and width of a window, ≥ 1.
        stride: From window to window, down and across, ≥ 1.
    """

    kind: str
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lstm(Operation):
    """One step of an LSTM: (inputs,), hidden state, cell state -> hidden state then cell state.

    Attributes:
        weight: float32, (4 units, inputs); gates in torch's order: input, forget, cell, output.
        recurrent: float32, (4 units, units).
        bias: float32, (4 units,); the sum of torch's two.
    """

    weight: Array
    recurrent: Array
    bias: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gru(Operation):
    """One step of a GRU: (inputs,), hidden state -> hidden state.

    Attributes:
        weight: float32, (3 units, inputs); gates in torch's order: reset, update, new.
        recurrent: float32, (3 units, units).
        bias: float32, (3 units,).
        recurrent_bias: float32, (3 units,); the reset gate scales its last third too.
    """

    weight: Array
    recurrent: Array
    bias: Array
    recurrent_bias: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unary(Operation):
    """A function of each element.

    Attributes:
        kind: One of `UNARY`.
        alpha: Slope below 0 of `leaky_relu`, limit of `elu`; unused otherwise.
    """

    kind: str
    alpha: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Operation):
    """A function of pairs of elements; shapes are broadcast from the right.

    Attributes:
        kind: One of `BINARY`.
    """

    kind: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Operation):
    """Each element between two bounds.

    Attributes:
        low: float32, broadcast to the input's shape; −infinity without a bound.
        high: The upper bound, of `low`'s shape; infinity without a bound.
    """

    low: Array
    high: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Operation):
    """The same elements in another shape, row by row.

    Attributes:
        shape: The new one.
    """

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Permute(Operation):
    """Axes in another order.

    Attributes:
        order: For each new axis the old one.
    """

    order: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Operation):
    """Inputs one after the other.

    Attributes:
        axis: Along which, ≥ 0.
    """

    axis: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Take(Operation):
    """Some of an axis's positions.

    Attributes:
        axis: An axis of the input, ≥ 0.
        indices: int64, (count,); which, in order.
    """

    axis: int
    indices: Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Operation):
    """Padding with a constant.

    Attributes:
        before: Padding before the first element of each axis, ≥ 0.
        after: Padding after the last element of each axis, ≥ 0.
        value: The constant.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reduce(Operation):
    """One value of an axis, which goes.

    Attributes:
        kind: "sum", "mean" or "max".
        axis: ≥ 0.
    """

    kind: str
    axis: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OneHot(Operation):
    """Whole numbers to 1 at their position of a new last axis and 0 elsewhere.

    Attributes:
        size: The new axis's length.
    """

    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ToFloat(Operation):
    """Whole numbers to real ones."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Operation):
    """Shares over the last axis."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Operation):
    """The position of the largest element of the last axis, which goes; the first of equals."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample(Operation):
    """A draw: of logits (…, choices) and uniform noise in [0, 1), the choice that the noise falls on."""


UNARY = (
    "tanh", "relu", "sigmoid", "silu", "elu", "gelu", "softplus", "leaky_relu", "exp", "log", "neg",
    "abs", "sqrt", "square",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "max", "min")


def arrays_of(operation: Operation) -> Mapping[str, Array]:
    """The arrays of an operation by the names of its attributes."""
    values = {f.name: getattr(operation, f.name) for f in dataclasses.fields(operation)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
