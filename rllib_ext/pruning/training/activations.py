"""Measures the activation of the units that a layer's weights read, through forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Called with a weight's name and the mean |activation| of what it reads.
Observer = Callable[[str, Tensor], None]


def observe_activations(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    observer: Observer,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Calls the observer at every forward pass, with gradients, of a layer that owns one of the weights.

    Args:
        module: The network.
        weights: Some of its weights, by their name in `module.named_parameters()`.
        observer: Gets tensors that broadcast to the weight's shape: (1, n_in) for a matrix, (1, n_in,
            1, …) for a convolution ((n_out, n_in ÷ groups, 1, …) with groups).
        wanted: Asked at every pass whether it counts.
    """
    by_layer: dict[str, dict[str, str]] = {}
    for name in weights:
        path, _, parameter = name.rpartition(".")
        by_layer.setdefault(path, {})[parameter] = name
    for layer_name, names in by_layer.items():
        layer = module.get_submodule(layer_name)
        layer.register_forward_hook(_hook(layer, names, observer, wanted))


def _hook(
    layer: nn.Module, names: Mapping[str, str], observer: Observer, wanted: Callable[[], bool]
) -> Callable[..., None]:
    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        # Who runs the network without gradients – to evaluate, trace or shrink it – isn't training it.
        if not torch.is_grad_enabled() or not wanted():
            return
        with torch.no_grad():
            for parameter, name in names.items():
                observer(name, read_by(layer, parameter, inputs, output))

    return hook


def read_by(layer: nn.Module, parameter: str, inputs: tuple[Any, ...], output: Any) -> Tensor:
    """The mean |activation| of each unit that a layer's weights read.

    Args:
        layer: A linear, convolutional or recurrent layer.
        parameter: Name of one of its weight matrices.
        inputs: Positional arguments of the layer's call.
        output: Return value of the call. A recurrent layer's hidden units are read from its last states,
            the only ones that every layer of a stack returns.

    Returns:
        Layers and values as the observer of `observe_activations` gets them.
    """
    if isinstance(layer, nn.RNNBase):
        return _read_by_recurrent(layer, parameter, inputs, output)
    activity: Tensor = inputs[0].detach().abs()
    if isinstance(layer, nn.Linear):
        return _unit_means(activity)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    spatial = len(layer.kernel_size)
    if activity.dim() == spatial + 1:
        activity = activity.unsqueeze(0)
    channels = activity.mean(dim=[0, *range(2, spatial + 2)])
    per_group = channels.view(layer.groups, layer.in_channels // layer.groups)
    rows = per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)
    if layer.groups == 1:
        rows = rows[:1]
    return rows.view(*rows.shape, *[1] * spatial)


def _read_by_recurrent(
    layer: nn.RNNBase, parameter: str, inputs: tuple[Any, ...], output: Any
) -> Tensor:
    kind, _, place = parameter.partition("_l")
    depth, _, direction = place.partition("_")
    if kind == "weight_ih" and depth == "0":
        return _unit_means(inputs[0].detach().abs())
    state = output[1][0] if isinstance(layer, nn.LSTM) else output[1]
    # (layers · directions, batch…, units); cells of a projected LSTM read the projection, as here.
    activity: Tensor = state.detach().abs()
    directions = 2 if layer.bidirectional else 1
    if kind == "weight_ih":
        below = [activity[(int(depth) - 1) * directions + d] for d in range(directions)]
        return torch.cat([_unit_means(part) for part in below], dim=1)
    if kind == "weight_hh":
        return _unit_means(activity[int(depth) * directions + (direction == "reverse")])
    # weight_hr projects the hidden state, which nobody outside sees.
    return torch.ones(1, 1, device=activity.device)


def _unit_means(activity: Tensor) -> Tensor:
    return activity.reshape(-1, activity.shape[-1]).mean(dim=0, keepdim=True)
