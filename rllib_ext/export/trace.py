"""An RLModule's decision as nodes of a program, read off torch's own trace of it."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from rllib_ext.export.aten.handlers import HANDLERS
from rllib_ext.export.aten.translator import NotExpressibleError, Traced, Translator
from rllib_ext.export.builder import Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Path, Reshape, Shape
from rllib_ext.pruning.structure.runs import evaluating

# What a decision gives, of all that a module returns.
_WANTED = (Columns.ACTION_DIST_INPUTS, Columns.ACTIONS, Columns.ACTIONS_FOR_ENV)
MEND = "Keep it in RLlib, or replace that part of the RLModule"


def leaves(nested: Any) -> list[tuple[Path, Any]]:
    """The parts of something nested with their paths, in RLlib's order: dicts by sorted keys."""
    return [(tuple(path), leaf) for path, leaf in tree.flatten_with_path(nested)]


class _Outputs:
    """The names of a module's outputs; torch restores the contents of its lists and dicts."""

    names: Sequence[tuple[Any, ...]] = ()


class _Decision(nn.Module):
    """The module that torch traces: flat tensors in, flat tensors out."""

    def __init__(self, module: nn.Module, observed: Any, state: Any) -> None:
        super().__init__()
        self.module = module
        self._like = {Columns.OBS: observed, **({} if state is None else {Columns.STATE_IN: state})}
        self.outputs = _Outputs()

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        module: Any = self.module
        outputs = module._forward_inference(tree.unflatten_as(self._like, list(tensors)))
        found = {key: outputs[key] for key in (*_WANTED, Columns.STATE_OUT) if key in outputs}
        flat = tree.flatten_with_path(found)
        self.outputs.names = [tuple(path) for path, _ in flat]
        return [tensor for _, tensor in flat]


def trace_module(module: Any, observed: Any, builder: Builder) -> dict[tuple[Any, ...], int]:
    """Adds an RLModule's decision to a program; its state becomes the program's.

    Args:
        module: For torch; shrunk, in evaluation mode.
        observed: Nodes of what it is shown, nested as its observation space is.
        builder: Builder that the nodes are added to.

    Returns:
        Nodes by what RLlib calls them: ("action_dist_inputs",), ("actions", …).

    Raises:
        ExportError: The module computes something that no form of an export can; says what.
    """
    parts = leaves(observed)
    state = module.get_initial_state() if module.is_stateful() else None
    initial = [
        (path, np.asarray(torch.as_tensor(value).detach(), np.float32))
        for path, value in ([] if state is None else leaves(state))
    ]
    shapes: list[tuple[Shape, str]] = [
        (builder.shape(node), builder.nodes[node].dtype) for _, node in parts
    ]
    batch = _unlike_any(module, [s for s, _ in shapes] + [v.shape for _, v in initial])
    time = () if state is None else (1,)
    examples = [
        torch.zeros((batch, *time, *shape), dtype=getattr(torch, kind)) for shape, kind in shapes
    ] + [torch.zeros((batch, *value.shape)) for _, value in initial]
    decision = _Decision(module, observed, state)
    traced = _traced(decision, module, examples)
    translator = Translator(builder, batch, HANDLERS)
    values: list[Traced] = []
    for (_, node), (shape, _kind) in zip(parts, shapes, strict=True):
        values.append(_with_time(builder, node, (*time, *shape)))
    names = {path: builder.name("state", path) for path, _ in initial}
    for path, value in initial:
        values.append(Traced(builder.state(names[path], value), 0))
    found = _translated(traced, translator, values, type(module).__name__)
    results: dict[tuple[Any, ...], int] = {}
    for path, value in zip(decision.outputs.names, found, strict=True):
        try:
            node = translator.known(value).node
        except NotExpressibleError as error:
            raise ExportError(
                f"{type(module).__name__} can't be exported: it gives {error}. {MEND}."
            ) from error
        if path[0] == Columns.STATE_OUT:
            # What was no state before is none after.
            if path[1:] in names:
                builder.update(names[path[1:]], builder.real(node))
        elif time and builder.shape(node)[:1] == (1,):
            results[path] = builder.add(Reshape(shape=builder.shape(node)[1:]), node)
        else:
            results[path] = node
    return results


class _Graph:
    """torch's trace: its nodes, the tensors that it holds, and what its inputs and outputs are."""

    def __init__(self, program: Any) -> None:
        self.nodes = list(program.graph.nodes)
        signature = program.graph_signature
        held: Mapping[str, Any] = {**program.state_dict, **program.constants}
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.held = {name: held[target] for name, target in named.items()}
        self.outputs = len(signature.user_outputs)


class _Function(nn.Module):
    """The module that torch traces for a function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, tensor: Tensor) -> list[Tensor]:
        return [self._function(tensor)]


def trace_function(
    function: Callable[[Tensor], Tensor], node: int, builder: Builder, name: str
) -> int:
    """Adds a function of one node, with a batch in front, to a program; gives the node of its result.

    Args:
        function: Function of one tensor of real numbers.
        node: Its argument.
        builder: Builder that the nodes are added to.
        name: Name of the function in messages.

    Raises:
        ExportError: As `trace_module`.
    """
    whole = _Function(function)
    shape = builder.shape(node)
    batch = _unlike_any(whole, [shape])
    traced = _traced(whole, whole, [torch.zeros((batch, *shape))], name)
    translator = Translator(builder, batch, HANDLERS)
    (found,) = _translated(traced, translator, [Traced(node, 0)], name)
    return translator.known(found).node


@dataclasses.dataclass(frozen=True)
class _Trace:
    """A module's trace, as it was taken or brought to torch's core operations."""

    plain: _Graph
    core: Callable[[], _Graph]

    @property
    def mutates(self) -> bool:
        """Whether an operation of the plain one changes a tensor in place."""
        schemas = [getattr(node.target, "_schema", None) for node in self.plain.nodes]
        return any(schema is not None and schema.is_mutable for schema in schemas)


def _traced(
    decision: nn.Module, module: nn.Module, examples: list[Tensor], name: str = ""
) -> _Trace:
    name = name or type(module).__name__

    def core() -> _Graph:
        with _tracing(module, name):
            return _Graph(exported.run_decompositions({}))

    with _tracing(module, name):
        exported = torch.export.export(decision, tuple(examples), strict=False)
        return _Trace(_Graph(exported), core)


@contextlib.contextmanager
def _tracing(module: nn.Module, name: str) -> Iterator[None]:
    try:
        with evaluating(module), torch.no_grad(), warnings.catch_warnings():
            # Of torch about itself, and about what recurrent layers keep for GPUs.
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        # A module is anybody's code, and torch raises errors of many kinds where it can't trace it.
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"{name} can't be exported: torch can't trace its decision as one fixed computation "
            f"({text[0]}). It may branch on values that it computes. {MEND} by one that always computes "
            "the same."
        ) from error


def _translated(
    traced: _Trace, translator: Translator, given: list[Traced], module: str
) -> list[Any]:
    # Core operations are fewer, but bringing a trace to them takes torch longer than taking it.
    if not traced.mutates:
        with contextlib.suppress(ExportError):
            return _translated_graph(traced.plain, translator, given, module)
    return _translated_graph(traced.core(), translator, given, module)


def _translated_graph(
    graph: _Graph, translator: Translator, given: list[Traced], module: str
) -> list[Any]:
    values: dict[Any, Any] = {}
    waiting = iter(given)
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = (
                graph.held[node.name].detach() if node.name in graph.held else next(waiting)
            )
        elif node.op == "call_function" and not node.users:
            # Such as where the largest value of a window lies.
            continue
        elif node.op == "call_function":
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            try:
                values[node] = translator.call(node.target, args, kwargs, node.meta.get("val"))
            except NotExpressibleError as error:
                raise ExportError(
                    f"{module} can't be exported: it uses {error}{_where(node)}, which no form of an "
                    f"export has. {MEND}."
                ) from error
        elif node.op != "output":
            raise ExportError(f"{module} can't be exported: its trace holds a {node.op}. {MEND}.")
    # What a module would keep of its buffers comes first.
    return [values[n] for n in graph.nodes[-1].args[0][-graph.outputs :]]


def _where(node: Any) -> str:
    inside = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    return f" in {inside[-1].removeprefix('module.')}" if inside else ""


def _with_time(builder: Builder, node: int, shape: Shape) -> Traced:
    return Traced(builder.add(Reshape(shape=shape), node), 0)


def _unlike_any(module: nn.Module, shapes: list[Any]) -> int:
    """A prime that is larger than all sizes of a module, so that it can only be the batch's."""
    sizes = [size for p in module.parameters() for size in p.shape]
    sizes += [size for shape in shapes for size in (*shape, int(np.prod(shape)))]
    candidate = max([*sizes, 100]) + 1
    while any(candidate % k == 0 for k in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate
