"""The layers whose structure is understood: which rows, columns and biases belong to which unit.

A unit is an output of a layer: a neuron, a convolution channel, or a hidden unit of a recurrent layer,
whose gates are several rows of one matrix.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
    nn.LocalResponseNorm,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One understood layer.

    Attributes:
        name: Name of the layer in `named_modules()`.
        module: The layer itself.
        width: Number of the layer's units.
        columns: Number of the layer's inputs: features, or channels.
        incoming: Name of the matrix that reads the inputs; its second dimension are the columns.
        recurrent: Name of the matrix that reads the layer's own units; "" without one.
        biases: Names of its biases.
    """

    name: str
    module: nn.Module
    width: int
    columns: int
    incoming: str
    recurrent: str
    biases: tuple[str, ...]

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of its weight matrices."""
        return (self.incoming, self.recurrent) if self.recurrent else (self.incoming,)

    @property
    def kernel_dims(self) -> int:
        """Spatial dimensions of a convolution; 0 for other layers."""
        weight: Tensor = self.module.get_parameter(self.incoming.rpartition(".")[2])
        return 0 if self.recurrent else weight.dim() - 2

    @property
    def axis(self) -> int:
        """The dimension of inputs and outputs that counts columns and units."""
        return -1 - self.kernel_dims

    @property
    def gates(self) -> int:
        """Rows of a matrix that belong to one unit."""
        if isinstance(self.module, nn.LSTM):
            return 4
        return 3 if isinstance(self.module, nn.GRU) else 1

    def parameter(self, name: str) -> nn.Parameter:
        """One of its matrices or biases, by the name under which the layer lists it."""
        return self.module.get_parameter(name.rpartition(".")[2])

    def unit_of_row(self) -> Tensor:
        """The unit that each row of its matrices and each element of its biases belongs to."""
        # torch stacks the gates: all input gates, then all forget gates, and so on.
        return torch.arange(self.width).repeat(self.gates)


def understood_layers(module: nn.Module) -> dict[str, Layer]:
    """The layers of a module whose structure is understood, by name.

    Left out: grouped convolutions, recurrent layers that are stacked, bidirectional or projected, and
    layers that share a parameter with another one.
    """
    layers: dict[str, Layer] = {}
    for name, child in module.named_modules():
        layer = _layer(name, child)
        if layer is not None:
            layers[name] = layer
    owners: dict[int, list[str]] = {}
    for name, layer in layers.items():
        for parameter in layer.module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    shared = {name for names in owners.values() if len(names) > 1 for name in names}
    return {name: layer for name, layer in layers.items() if name not in shared}


def _layer(name: str, module: nn.Module) -> Layer | None:
    kind = next(
        (k for k in (nn.Linear, *_CONVOLUTIONS, *_RECURRENT) if isinstance(module, k)), None
    )
    # A class or an instance with a forward of its own computes something else.
    if kind is None or type(module).forward is not kind.forward or "forward" in vars(module):
        return None
    prefix = f"{name}." if name else ""
    own = dict(module.named_parameters(recurse=False))
    if isinstance(module, _RECURRENT):
        if module.num_layers != 1 or module.bidirectional or module.proj_size:
            return None
        incoming, recurrent, biases = "weight_ih_l0", "weight_hh_l0", ["bias_ih_l0", "bias_hh_l0"]
        width = module.hidden_size
    elif getattr(module, "groups", 1) == 1:
        incoming, recurrent, biases = "weight", "", ["bias"]
        width = own["weight"].shape[0] if "weight" in own else 0
    else:
        return None
    # Parametrised weights are computed anew at every use.
    if incoming not in own:
        return None
    return Layer(
        name=name,
        module=module,
        width=width,
        columns=own[incoming].shape[1],
        incoming=prefix + incoming,
        recurrent=prefix + recurrent if recurrent else "",
        biases=tuple(prefix + bias for bias in biases if bias in own),
    )


def plane_of(values: Tensor) -> Tensor:
    """A matrix as (rows, columns) in float64 on the CPU, summed over a kernel's positions."""
    values = values.detach().to("cpu", torch.float64)
    return values.flatten(2).sum(-1) if values.dim() > 2 else values
