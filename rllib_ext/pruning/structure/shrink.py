"""Masks to a smaller module with equal outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import ShrinkError, TraceError
from rllib_ext.pruning.masks import apply_masks_
from rllib_ext.pruning.structure.copies import copy_of
from rllib_ext.pruning.structure.counts import Counts, count
from rllib_ext.pruning.structure.coupling import NO_GROUP, Coupling, coupled_units
from rllib_ext.pruning.structure.dead import fold_constants_, needed_units
from rllib_ext.pruning.structure.graph import Graph, Probe, trace
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.probe import flatten
from rllib_ext.pruning.structure.runs import evaluating, fixed_draws
from rllib_ext.pruning.structure.stand_ins import stand_ins

# Largest |masked − shrunk| ÷ largest |masked| that still counts as equal, and inputs to show it on.
TOLERANCE = 1e-5
TRIALS = 4
# Larger outputs say "never", as in logits of actions that are not allowed; they set no scale.
_LARGEST = 1e30

Adapt = Callable[[nn.Module, Mapping[str, Tensor]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shrunk:
    """A smaller module that was shown to give equal outputs.

    Attributes:
        module: The smaller module, in the mode (training or not) of the given one.
        kept: For each understood layer, the indices of the units that stayed.
        before: Counts of the masked module.
        after: Counts of the smaller one.
        difference: Largest |masked − shrunk| ÷ largest |masked| that was seen.
    """

    module: nn.Module
    kept: dict[str, Tensor]
    before: Counts
    after: Counts
    difference: float


class Constant(nn.Module):
    """Stands for a layer without weights: its output is its bias everywhere.

    Args:
        layer: A linear or convolution layer whose weights are all zero.
    """

    bias: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight: Tensor = layer.get_parameter("weight")
        bias = layer._parameters.get("bias")
        if bias is None:
            self.register_buffer("bias", weight.new_zeros(len(weight)), persistent=False)
        else:
            self.register_parameter("bias", bias)
        # For each spatial axis: kernel, stride, dilation, padding on both sides together.
        self._axes: list[tuple[int, int, int, int]] = []
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            sides = layer._reversed_padding_repeated_twice[::-1]
            padding = [a + b for a, b in zip(sides[::2], sides[1::2], strict=True)]
            self._axes = list(
                zip(layer.kernel_size, layer.stride, layer.dilation, padding, strict=True)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps inputs of any values to constants of the shape that the layer gave."""
        width = len(self.bias)
        axes = len(self._axes)
        if not axes:
            return self.bias.expand(*x.shape[:-1], width).clone()
        sizes = [
            (size + padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, (kernel, stride, dilation, padding) in zip(
                x.shape[-axes:], self._axes, strict=True
            )
        ]
        spread = self.bias.view(-1, *[1] * axes)
        return spread.expand(*x.shape[: -axes - 1], width, *sizes).clone()


def shrink(
    module: nn.Module,
    masks: Mapping[str, Tensor],
    probe: Probe,
    *,
    check: Probe | None = None,
    adapt: Adapt | None = None,
    seed: int = 0,
) -> Shrunk:
    """Removes dead units physically, and shows that outputs are equal.

    Recurrent layers are taken to start from a zero state. Names of parameters stay; shapes don't.

    Args:
        module: The module; left as it is.
        masks: Masks by parameter name, True = keep; names that the module doesn't have are ignored.
        probe: Example inputs and how to run the network on them.
        check: Probe for the comparison of outputs, such as longer sequences; None means `probe`.
        adapt: Called with the smaller module and the indices of the units that stayed, before outputs
            are compared: for what else must know the sizes, such as an initial state.
        seed: Fixes all inputs that are drawn.

    Returns:
        The smaller module and its counts.

    Raises:
        ShrinkError: No smaller module gives equal outputs; the message says why.
    """
    masked = copy_of(module)
    parameters = dict(masked.named_parameters())
    apply_masks_(parameters, {n: m for n, m in masks.items() if n in parameters})
    small = copy_of(masked)
    try:
        graph, kept = _remove_units_(small, probe, seed)
    except TraceError as error:
        raise ShrinkError(
            f"{error.reason}, so no smaller module can be shown to give equal outputs. Keep the masked "
            "module."
        ) from error
    for name, layer in graph.layers.items():
        if not layer.recurrent and not bool(layer.parameter(layer.incoming).any()):
            _replace_(small, name, Constant(layer.module).train(layer.module.training))
    if adapt is not None:
        adapt(small, kept)
    return Shrunk(
        module=small,
        kept=kept,
        before=count(masked, probe),
        after=_counted(small, probe),
        difference=_compare(masked, small, check or probe, seed),
    )


def _remove_units_(small: nn.Module, probe: Probe, seed: int) -> tuple[Graph, dict[str, Tensor]]:
    """Cuts a masked module down to the units that are needed; gives them for each layer."""
    kept: dict[str, Tensor] = {}
    with evaluating(small), torch.no_grad():
        graph = trace(small, probe, seed=seed)
        coupling = coupled_units(graph)
        generator = torch.Generator().manual_seed(seed)
        inputs = probe.inputs(small, generator)
        drawn = stand_ins(small, probe.forward, inputs, graph.layers, generator)
        fold_constants_(small, probe.forward, inputs, graph, drawn)
        needed = needed_units(graph, coupling)
        for name, layer in graph.layers.items():
            kept[name] = torch.nonzero(needed[name]).flatten()
            _resize_(layer, needed[name], _kept_columns(name, graph, coupling, needed))
    return graph, kept


def _kept_columns(
    name: str, graph: Graph, coupling: Coupling, needed: Mapping[str, Tensor]
) -> Tensor:
    groups = torch.zeros(coupling.count + 1, dtype=torch.bool)
    for layer, units in coupling.units.items():
        groups[units[needed[layer]]] = True
    groups[NO_GROUP] = True
    return groups[coupling.columns[name]]


def _resize_(layer: Layer, units: Tensor, columns: Tensor) -> None:
    """Cuts a layer's parameters down to some units and columns (bool tensors), in place."""
    module = layer.module
    rows = units[layer.unit_of_row()]
    for name in (*layer.matrices, *layer.biases):
        parameter = layer.parameter(name)
        values = parameter.detach()[rows.to(parameter.device)]
        if name in layer.matrices:
            chosen = units if name == layer.recurrent else columns
            values = values[:, chosen.to(parameter.device)]
        smaller = nn.Parameter(values.clone(), requires_grad=parameter.requires_grad)
        setattr(module, name.rpartition(".")[2], smaller)
    width, inputs = int(units.sum()), int(columns.sum())
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = width, inputs
    elif isinstance(module, nn.RNNBase):
        module.hidden_size, module.input_size = width, inputs
        module.flatten_parameters()
    else:
        module.out_channels, module.in_channels = width, inputs  # type: ignore[assignment]


def _replace_(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)


def _counted(small: nn.Module, probe: Probe) -> Counts:
    try:
        return count(small, probe)
    except Exception as error:
        # A module is anybody's code.
        raise ShrinkError(
            f"the smaller module does not run: {error}. Something beside its layers knows their sizes, "
            "such as a parameter of its own or an initial state: adapt it (argument `adapt`), or keep "
            "the masked module."
        ) from error


@torch.no_grad()
def _compare(masked: nn.Module, small: nn.Module, probe: Probe, seed: int) -> float:
    """The largest relative difference of outputs on random inputs."""
    largest = 0.0
    for trial in range(TRIALS):
        outputs = [_outputs(m, probe, seed + 1 + trial) for m in (masked, small)]
        for name, expected in outputs[0].items():
            found = outputs[1][name]
            if found.shape != expected.shape:
                raise ShrinkError(
                    f"output {name!r} has shape {tuple(found.shape)} after shrinking, "
                    f"{tuple(expected.shape)} before. Keep the masked module."
                )
            difference = _difference(found, expected)
            if not difference <= TOLERANCE:
                raise ShrinkError(
                    f"output {name!r} differs by {difference:.1e} of its largest value after "
                    f"shrinking; expected at most {TOLERANCE:.0e}. The module computes something that "
                    "its layers don't show. Keep the masked module."
                )
            largest = max(largest, difference)
    return largest


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest expected value; whole numbers must be equal."""
    equal = (found == expected) | ((found != found) & (expected != expected))
    if bool(equal.all()):
        return 0.0
    if not expected.is_floating_point():
        return math.inf
    sizes = expected.abs().double()
    scale = float(torch.where(sizes <= _LARGEST, sizes, 0.0).max())
    difference = float(torch.where(equal, 0.0, (found - expected).abs().double()).max())
    return difference / max(scale, torch.finfo(expected.dtype).tiny)


def _outputs(module: nn.Module, probe: Probe, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with evaluating(module), fixed_draws():
        outputs: Any = probe.forward(module, probe.inputs(module, generator))
    return flatten(outputs)
