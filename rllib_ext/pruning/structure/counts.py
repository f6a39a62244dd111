"""The size of a network: parameters, non-zero ones, multiply-accumulates."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rllib_ext.pruning.scope import lies_in
from rllib_ext.pruning.structure.graph import Probe
from rllib_ext.pruning.structure.runs import evaluating, fixed_draws

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """The size of a network.

    Attributes:
        parameters: Elements of all parameters, biases included.
        nonzero: Those of them that are not zero.
        macs: Multiply-accumulates of its linear, convolution and recurrent layers for one observation.
    """

    parameters: int
    nonzero: int
    macs: int


def count(module: nn.Module, probe: Probe, *, without: Iterable[str] = ()) -> Counts:
    """Counts a network, by running it once.

    Args:
        module: The network; left as it is.
        probe: Example inputs and how to run the network on them.
        without: Names of submodules and parameters to leave out of the counts, such as the critic's.

    Returns:
        Its counts.
    """
    left_out = tuple(without)

    def counted(name: str) -> bool:
        return not lies_in(name, left_out)

    macs = 0

    def add(layer: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        nonlocal macs
        macs += _macs(layer, args[0], output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(module))
        stack.enter_context(fixed_draws())
        stack.enter_context(torch.no_grad())
        for name, child in module.named_modules():
            if isinstance(child, _DENSE + _RECURRENT) and counted(name):
                stack.callback(child.register_forward_hook(add).remove)
        probe.forward(module, probe.inputs(module, torch.Generator().manual_seed(0)))
    parameters = [p for name, p in module.named_parameters() if counted(name)]
    return Counts(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        macs=macs // probe.observations,
    )


def _macs(layer: nn.Module, x: Tensor, output: Any) -> int:
    if isinstance(layer, _RECURRENT):
        steps = math.prod(x.shape[:-1])
        matrices = (p for p in layer.parameters(recurse=False) if p.dim() == 2)
        return steps * sum(p.numel() for p in matrices)
    weight: Tensor = layer.get_parameter("weight")
    # Each output takes one multiply-accumulate for each weight of its row.
    return int(output.numel()) * math.prod(weight.shape[1:])
