"""A program as one of torch.export, with a free batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.export.operations import UNARY, Constant, Input, State, arrays_of
from rllib_ext.export.program import Program

_UNARY: dict[str, Callable[..., Tensor]] = {
    **{kind: getattr(torch, kind) for kind in UNARY if hasattr(torch, kind)},
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "softplus": nn.functional.softplus,
    "elu": nn.functional.elu,
    "leaky_relu": nn.functional.leaky_relu,
}
_BINARY: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
}


class ProgramModule(nn.Module):
    """Computes a program with torch.

    Called with what comes in and the state, in the order of `names_in`; gives what comes out and the
    state, in the order of `names_out`. All have a batch as their first axis.

    Args:
        program: Program to compute.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program = program
        for number, node in enumerate(program.nodes):
            for name, array in arrays_of(node.operation).items():
                self.register_buffer(f"w{number}_{name}", torch.from_numpy(np.array(array)))
        self.names_in = [g.name for g in program.given] + [c.name for c in program.carried]
        self.names_out = [r.name for r in program.results] + [c.name for c in program.carried]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One batch of decisions."""
        given = dict(zip(self.names_in, tensors, strict=True))
        values: list[Tensor] = []
        for number, node in enumerate(self._program.nodes):
            operation = node.operation
            if isinstance(operation, Input | State):
                values.append(given[operation.name])
            elif isinstance(operation, Constant):
                value = self._array(number, "value")
                values.append(value.unsqueeze(0).expand(tensors[0].shape[0], *value.shape))
            else:
                method = getattr(self, f"_{type(operation).__name__.lower()}")
                values.append(method(number, operation, *[values[i] for i in node.inputs]))
        ends = [r.node for r in self._program.results] + [c.update for c in self._program.carried]
        # What comes out must be nobody else's memory.
        return tuple(values[end].clone() for end in ends)

    def _array(self, number: int, name: str) -> Tensor:
        return self.get_buffer(f"w{number}_{name}")

    def _dense(self, number: int, o: Any, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self._array(number, "weight"), self._array(number, "bias"))

    def _conv(self, number: int, o: Any, x: Tensor) -> Tensor:
        weight, bias = self._array(number, "weight"), self._array(number, "bias")
        return nn.functional.conv2d(
            x, weight, bias, stride=o.stride, dilation=o.dilation, groups=o.groups
        )

    def _pool(self, number: int, o: Any, x: Tensor) -> Tensor:
        pool = nn.functional.max_pool2d if o.kind == "max" else nn.functional.avg_pool2d
        return pool(x, o.size, o.stride)

    def _lstm(self, number: int, o: Any, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        z = nn.functional.linear(x, self._array(number, "weight"), self._array(number, "bias"))
        z = z + nn.functional.linear(h, self._array(number, "recurrent"))
        i, f, g, out = z.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(out) * torch.tanh(c), c], 1)

    def _gru(self, number: int, o: Any, x: Tensor, h: Tensor) -> Tensor:
        a = nn.functional.linear(x, self._array(number, "weight"), self._array(number, "bias"))
        recurrent = self._array(number, "recurrent")
        b = nn.functional.linear(h, recurrent, self._array(number, "recurrent_bias"))
        (r, z, n), (s, u, m) = a.chunk(3, 1), b.chunk(3, 1)
        keep = torch.sigmoid(z + u)
        return (1 - keep) * torch.tanh(n + torch.sigmoid(r + s) * m) + keep * h

    def _unary(self, number: int, o: Any, x: Tensor) -> Tensor:
        more = (o.alpha,) if o.kind in ("elu", "leaky_relu") else ()
        return _UNARY[o.kind](x, *more)

    def _binary(self, number: int, o: Any, x: Tensor, y: Tensor) -> Tensor:
        rank = max(x.dim(), y.dim())
        for _ in range(rank - x.dim()):
            x = x.unsqueeze(1)
        for _ in range(rank - y.dim()):
            y = y.unsqueeze(1)
        return _BINARY[o.kind](x, y)

    def _normalise(self, number: int, o: Any, x: Tensor) -> Tensor:
        scaled = (x.double() - self._array(number, "mean")) / self._array(number, "scale")
        return scaled.clamp(-o.clip, o.clip).float()

    def _clip(self, number: int, o: Any, x: Tensor) -> Tensor:
        low, high = self._array(number, "low"), self._array(number, "high")
        return torch.minimum(torch.maximum(x, low), high)

    def _reshape(self, number: int, o: Any, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *o.shape)

    def _permute(self, number: int, o: Any, x: Tensor) -> Tensor:
        return x.permute(0, *(axis + 1 for axis in o.order))

    def _concat(self, number: int, o: Any, *x: Tensor) -> Tensor:
        return torch.cat(list(x), o.axis + 1)

    def _take(self, number: int, o: Any, x: Tensor) -> Tensor:
        return torch.index_select(x, o.axis + 1, self._array(number, "indices"))

    def _pad(self, number: int, o: Any, x: Tensor) -> Tensor:
        sides = [s for pair in zip(o.before[::-1], o.after[::-1], strict=True) for s in pair]
        return nn.functional.pad(x, sides, value=o.value)

    def _reduce(self, number: int, o: Any, x: Tensor) -> Tensor:
        if o.kind == "max":
            return x.amax(o.axis + 1)
        return x.sum(o.axis + 1) if o.kind == "sum" else x.mean(o.axis + 1)

    def _onehot(self, number: int, o: Any, x: Tensor) -> Tensor:
        return (x.unsqueeze(-1) == torch.arange(o.size)).float()

    def _tofloat(self, number: int, o: Any, x: Tensor) -> Tensor:
        return x.float()

    def _softmax(self, number: int, o: Any, x: Tensor) -> Tensor:
        return torch.softmax(x, -1)

    def _argmax(self, number: int, o: Any, x: Tensor) -> Tensor:
        return torch.argmax(x, -1)

    def _sample(self, number: int, o: Any, x: Tensor, u: Tensor) -> Tensor:
        summed = torch.softmax(x, -1).cumsum(-1)[..., :-1]
        return (summed <= u.unsqueeze(-1)).sum(-1)


def example(program: Program, size: int) -> tuple[Tensor, ...]:
    """Zeros in the shape of a batch of what comes in, and the initial state."""
    numbers = program.numbers
    tensors = [
        torch.zeros(
            (size, *program.nodes[numbers[g.name]].shape),
            dtype=getattr(torch, program.nodes[numbers[g.name]].dtype),
        )
        for g in program.given
    ]
    tensors += [torch.from_numpy(np.repeat(c.initial[None], size, 0)) for c in program.carried]
    return tuple(tensors)


def write_torch(path: Path, program: Program) -> None:
    """Writes a program with torch.export; the batch is free."""
    module = ProgramModule(program).eval()
    given = example(program, 3)
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in given),)
    with warnings.catch_warnings():
        # Of torch about itself.
        warnings.simplefilter("ignore")
        exported = torch.export.export(module, given, dynamic_shapes=shapes, strict=False)
    for node in exported.graph.nodes:
        # Where this file lies on the machine that exports is nobody's business.
        node.meta.pop("stack_trace", None)
    # Python code that checks inputs, which a reader would have to run unseen.
    exported._guards_code = []
    torch.export.save(exported, path)
