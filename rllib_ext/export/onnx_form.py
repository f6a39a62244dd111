"""A program as an ONNX graph with a free batch: raw observation and state in, action and state out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ext.base.extras import install
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Array, Constant, Input, Shape, State
from rllib_ext.export.program import Node, Program

OPSET, IR_VERSION = 18, 10
# What the state after a decision is called: the state's own name, and this.
AFTER = "_out"


def write_onnx(path: Path, program: Program, metadata: Mapping[str, str]) -> None:
    """Writes a program as ONNX and has ONNX check it.

    Args:
        path: The file.
        program: Program to write.
        metadata: Plain text by name, kept in the model.

    Raises:
        ExportError: The package onnx is missing.
    """
    try:
        import onnx
        from onnx import helper
    except ImportError as error:
        raise ExportError(f"the package onnx is missing: {install('onnx')}.") from error
    graph = _Graph(program)
    graph.write()
    numbers = program.numbers
    given = [g.name for g in program.given] + [c.name for c in program.carried]
    inputs = [_value(name, program.nodes[numbers[name]]) for name in given]
    outputs = [_value(r.name, program.nodes[r.node]) for r in program.results]
    outputs += [_value(c.name + AFTER, program.nodes[c.update]) for c in program.carried]
    made = helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.constants)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="prunefront",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _value(name: str, node: Node) -> Any:
    from onnx import TensorProto, helper

    kinds = {
        "float32": TensorProto.FLOAT,
        "int64": TensorProto.INT64,
        "uint8": TensorProto.UINT8,
    }
    return helper.make_tensor_value_info(name, kinds[node.dtype], ["batch", *node.shape])


class _Graph:
    """Grows ONNX's nodes; a program's node is called by its number, inputs and states by their names."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._names: list[str] = []
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def write(self) -> None:
        for number, node in enumerate(self._program.nodes):
            operation = node.operation
            if isinstance(operation, Input | State):
                self._names.append(operation.name)
            elif isinstance(operation, Constant):
                self._names.append(self.constant(f"{number}", operation.value))
            else:
                writer = _WRITERS[type(operation).__name__.lower()]
                self._names.append(writer(self, f"{number}", node, operation))
        for result in self._program.results:
            self.add("Identity", [self.batched(result.node)], result.name)
        for carried in self._program.carried:
            self.add("Identity", [self.batched(carried.update)], carried.name + AFTER)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        array = np.array(value, order="C")
        self.constants.append(numpy_helper.from_array(array, f"c{name}"))
        return f"c{name}"

    def shape(self, number: int) -> Shape:
        return self._program.nodes[number].shape

    def name(self, number: int) -> str:
        return self._names[number]

    def fixed(self, number: int) -> bool:
        return isinstance(self._program.nodes[number].operation, Constant)

    def batched(self, number: int) -> str:
        """A value with a batch axis, also where it is the same at each decision."""
        if not self.fixed(number):
            return self.name(number)
        name = f"{number}_batch"
        first = self._program.given[0].name
        size = self.add("Shape", [first], f"{name}_size", start=0, end=1)
        rest = self.constant(f"{name}_rest", np.array(self.shape(number), np.int64))
        whole = self.add("Concat", [size, rest], f"{name}_shape", axis=0)
        return self.add("Expand", [self.name(number), whole], name)

    def operand(self, number: int, rank: int, name: str) -> str:
        """An operand with as many axes behind the batch as the result."""
        missing = rank - len(self.shape(number))
        if self.fixed(number) or not missing:
            return self.name(number)
        axes = self.constant(f"{name}_axes", np.arange(1, 1 + missing))
        return self.add("Unsqueeze", [self.name(number), axes], name)

    def sum(self, name: str, parts: list[str]) -> str:
        return self.add("Add", parts, name)

    def matrix(self, name: str, source: str, weight: Array, bias: Array, rank: int) -> str:
        w = self.constant(f"{name}_w", weight if rank == 1 else weight.T)
        b = self.constant(f"{name}_b", bias)
        if rank == 1:
            return self.add("Gemm", [source, w, b], name, transB=1)
        return self.sum(name, [self.add("MatMul", [source, w], f"{name}_m"), b])

    def parts(self, name: str, source: str, count: int) -> list[str]:
        from onnx import helper

        names = [f"{name}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node("Split", [source], names, axis=1, num_outputs=count))
        return names


def _simple(kind: str, **attributes: Any) -> Callable[[_Graph, str, Node, Any], str]:
    return lambda g, name, node, o: g.add(
        kind, [g.name(i) for i in node.inputs], name, **attributes
    )


def _dense(g: _Graph, name: str, node: Node, o: Any) -> str:
    source = node.inputs[0]
    return g.matrix(name, g.name(source), o.weight, o.bias, len(g.shape(source)))


def _conv(g: _Graph, name: str, node: Node, o: Any) -> str:
    inputs = [
        g.name(node.inputs[0]),
        g.constant(f"{name}_w", o.weight),
        g.constant(f"{name}_b", o.bias),
    ]
    how = {"strides": list(o.stride), "dilations": list(o.dilation), "group": o.groups}
    return g.add("Conv", inputs, name, **how)


def _pool(g: _Graph, name: str, node: Node, o: Any) -> str:
    kind = "MaxPool" if o.kind == "max" else "AveragePool"
    how = {"kernel_shape": list(o.size), "strides": list(o.stride)}
    return g.add(kind, [g.batched(node.inputs[0])], name, **how)


def _lstm(g: _Graph, name: str, node: Node, o: Any) -> str:
    x, h, c = (g.batched(i) for i in node.inputs)
    zeros = np.zeros_like(o.bias)
    from_x = g.matrix(f"{name}_x", x, o.weight, o.bias, 1)
    from_h = g.matrix(f"{name}_h", h, o.recurrent, zeros, 1)
    gates = g.parts(f"{name}_g", g.sum(f"{name}_z", [from_x, from_h]), 4)
    kept, new = f"{name}_kept", f"{name}_new"
    i, f, u = (
        g.add(k, [gate], f"{gate}_a")
        for k, gate in zip(("Sigmoid", "Sigmoid", "Tanh"), gates, strict=False)
    )
    out = g.add("Sigmoid", [gates[3]], f"{gates[3]}_a")
    cell = g.sum(f"{name}_cell", [g.add("Mul", [f, c], kept), g.add("Mul", [i, u], new)])
    hidden = g.add("Mul", [out, g.add("Tanh", [cell], f"{name}_t")], f"{name}_hidden")
    return g.add("Concat", [hidden, cell], name, axis=1)


def _gru(g: _Graph, name: str, node: Node, o: Any) -> str:
    x, h = (g.batched(i) for i in node.inputs)
    a = g.parts(f"{name}_a", g.matrix(f"{name}_x", x, o.weight, o.bias, 1), 3)
    b = g.parts(f"{name}_b", g.matrix(f"{name}_h", h, o.recurrent, o.recurrent_bias, 1), 3)
    reset, keep = (
        g.add("Sigmoid", [g.sum(f"{name}_s{i}", [a[i], b[i]])], f"{name}_k{i}") for i in (0, 1)
    )
    inner = g.sum(f"{name}_i", [a[2], g.add("Mul", [reset, b[2]], f"{name}_r")])
    new = g.add("Tanh", [inner], f"{name}_n")
    moved = g.add("Mul", [keep, g.add("Sub", [h, new], f"{name}_d")], f"{name}_m")
    return g.sum(name, [new, moved])


def _unary(g: _Graph, name: str, node: Node, o: Any) -> str:
    x = g.name(node.inputs[0])
    if o.kind == "silu":
        return g.add("Mul", [x, g.add("Sigmoid", [x], f"{name}_s")], name)
    if o.kind == "square":
        return g.add("Mul", [x, x], name)
    if o.kind == "gelu":
        root = g.constant(f"{name}_root", np.float32(np.sqrt(0.5)))
        erf = g.add("Erf", [g.add("Mul", [x, root], f"{name}_x")], f"{name}_erf")
        one, half = (g.constant(f"{name}_{v}", np.float32(v)) for v in (1.0, 0.5))
        share = g.add("Mul", [g.sum(f"{name}_p", [erf, one]), half], f"{name}_h")
        return g.add("Mul", [x, share], name)
    kinds = {"leaky_relu": "LeakyRelu", "elu": "Elu"}
    attributes = {"alpha": float(o.alpha)} if o.kind in kinds else {}
    return g.add(kinds.get(o.kind, o.kind.capitalize()), [x], name, **attributes)


def _binary(g: _Graph, name: str, node: Node, o: Any) -> str:
    rank = len(node.shape)
    parts = [g.operand(i, rank, f"{name}_{k}") for k, i in enumerate(node.inputs)]
    return g.add(o.kind.capitalize(), parts, name)


def _bounded(g: _Graph, name: str, source: str, low: Any, high: Any) -> str:
    for kind, bound in (("Max", low), ("Min", high)):
        if np.isfinite(bound).any():
            limit = np.nan_to_num(np.asarray(bound, np.float32))
            source = g.add(kind, [source, g.constant(f"{name}_{kind}", limit)], f"{name}_{kind}")
    return g.add("Identity", [source], name)


def _clip(g: _Graph, name: str, node: Node, o: Any) -> str:
    return _bounded(g, name, g.name(node.inputs[0]), o.low, o.high)


def _normalise(g: _Graph, name: str, node: Node, o: Any) -> str:
    source = g.name(node.inputs[0])
    if g._program.nodes[node.inputs[0]].dtype != "float32":
        source = g.add("Cast", [source], f"{name}_float", to=1)
    high = o.mean.astype(np.float32)
    for part, values in (("high", high), ("low", (o.mean - high).astype(np.float32))):
        minus = g.constant(f"{name}_{part}", values)
        source = g.add("Sub", [source, minus], f"{name}_{part}_s")
    scale = g.constant(f"{name}_scale", o.scale.astype(np.float32))
    source = g.add("Div", [source, scale], f"{name}_d")
    return _bounded(g, name, source, -o.clip, o.clip)


def _reshape(g: _Graph, name: str, node: Node, o: Any) -> str:
    # 0 keeps the batch.
    shape = g.constant(f"{name}_shape", np.array([0, *node.shape], np.int64))
    return g.add("Reshape", [g.name(node.inputs[0]), shape], name)


def _permute(g: _Graph, name: str, node: Node, o: Any) -> str:
    order = [0, *(axis + 1 for axis in o.order)]
    return g.add("Transpose", [g.name(node.inputs[0])], name, perm=order)


def _concat(g: _Graph, name: str, node: Node, o: Any) -> str:
    return g.add("Concat", [g.batched(i) for i in node.inputs], name, axis=o.axis + 1)


def _take(g: _Graph, name: str, node: Node, o: Any) -> str:
    indices = g.constant(f"{name}_i", o.indices.astype(np.int64))
    return g.add("Gather", [g.name(node.inputs[0]), indices], name, axis=o.axis + 1)


def _pad(g: _Graph, name: str, node: Node, o: Any) -> str:
    widths = g.constant(f"{name}_p", np.array([0, *o.before, 0, *o.after], np.int64))
    value = g.constant(f"{name}_v", np.float32(o.value))
    return g.add("Pad", [g.name(node.inputs[0]), widths, value], name)


def _reduce(g: _Graph, name: str, node: Node, o: Any) -> str:
    axes = g.constant(f"{name}_axes", np.array([o.axis + 1], np.int64))
    kind = "Reduce" + o.kind.capitalize()
    return g.add(kind, [g.name(node.inputs[0]), axes], name, keepdims=0)


def _onehot(g: _Graph, name: str, node: Node, o: Any) -> str:
    source = g.name(node.inputs[0])
    if g._program.nodes[node.inputs[0]].dtype != "int64":
        source = g.add("Cast", [source], f"{name}_whole", to=7)
    depth = g.constant(f"{name}_n", np.int64(o.size))
    values = g.constant(f"{name}_v", np.array([0.0, 1.0], np.float32))
    return g.add("OneHot", [source, depth, values], name, axis=-1)


def _sample(g: _Graph, name: str, node: Node, o: Any) -> str:
    logits, noise = (g.batched(i) for i in node.inputs)
    last = g.constant(f"{name}_last", np.int64(-1))
    shares = g.add("Softmax", [logits], f"{name}_p", axis=-1)
    summed = g.add("CumSum", [shares, last], f"{name}_c")
    width = g.shape(node.inputs[0])[-1]
    kept = g.constant(f"{name}_k", np.arange(width - 1))
    summed = g.add("Gather", [summed, kept], f"{name}_g", axis=len(node.shape) + 1)
    axis = g.constant(f"{name}_axis", np.array([-1], np.int64))
    drawn = g.add("Unsqueeze", [noise, axis], f"{name}_u")
    below = g.add("LessOrEqual", [summed, drawn], f"{name}_b")
    whole = g.add("Cast", [below], f"{name}_i", to=7)
    return g.add("ReduceSum", [whole, axis], name, keepdims=0)


_WRITERS: dict[str, Callable[[_Graph, str, Node, Any], str]] = {
    "argmax": _simple("ArgMax", axis=-1, keepdims=0),
    "binary": _binary,
    "clip": _clip,
    "concat": _concat,
    "conv": _conv,
    "dense": _dense,
    "gru": _gru,
    "lstm": _lstm,
    "normalise": _normalise,
    "onehot": _onehot,
    "pad": _pad,
    "permute": _permute,
    "pool": _pool,
    "reduce": _reduce,
    "reshape": _reshape,
    "sample": _sample,
    "softmax": _simple("Softmax", axis=-1),
    "take": _take,
    "tofloat": _simple("Cast", to=1),
    "unary": _unary,
}
