"""Dead weights taken out of a network that goes on training, without changing what it computes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ext.pruning.errors import TraceError
from rllib_ext.pruning.masks import Masks, apply_masks_
from rllib_ext.pruning.structure.dead import fold_column_
from rllib_ext.pruning.structure.graph import Graph, Probe
from rllib_ext.pruning.structure.layers import Layer
from rllib_ext.pruning.structure.liveness import Array, Liveness
from rllib_ext.pruning.structure.runs import evaluating, fixed_draws

logger = logging.getLogger(__name__)


class DeadWeights:
    """Finds the dead weights of a network and moves what they add into biases.

    Args:
        module: The network.
        probe: Example inputs and how to run the network on them.
        graph: The coupling of its units; of another network of the same form, if need be.
        spared: Names of matrices that keep their dead weights.
    """

    def __init__(
        self, module: nn.Module, probe: Probe, graph: Graph, spared: Collection[str] = ()
    ) -> None:
        self.liveness = Liveness(graph)
        self._spared = frozenset(spared)
        self._module = module
        self._probe = probe
        modules = dict(module.named_modules())
        self._modules = {name: modules[name] for name in graph.layers}
        self._layers = graph.layers

    @torch.no_grad()
    def remove_(
        self,
        weights: Mapping[str, nn.Parameter],
        masks: Mapping[str, Tensor],
        left: Mapping[str, Tensor] | None = None,
    ) -> Masks:
        """Applies masks to the network, then takes the dead weights out of it, in place.

        What the network computes with the given masks it computes without the dead weights too: a
        constant that some of them read goes into the bias of who reads it.

        Args:
            weights: Prunable weights by name.
            masks: Masks by the same names.
            left: Masks without those of them that are dead already, and with others, now zero, that
                come back to life; None: `masks`.

        Returns:
            `left` without what was dead, but for what could not be taken out.
        """
        left = masks if left is None else left
        live = self.liveness.live(left)
        found = {n: mask.clone() if n in self._spared else live[n] for n, mask in left.items()}
        gone = {name: mask & ~found[name] for name, mask in masks.items()}
        apply_masks_(weights, masks)
        columns = self.liveness.flow(masks).columns
        constant = {
            name: np.flatnonzero(~columns[name] & _read(gone[layer.incoming])).tolist()
            for name, layer in self._layers.items()
            if layer.incoming in masks
        }
        constant = {name: chosen for name, chosen in constant.items() if chosen}
        for name, seen in self._inputs_of(constant).items():
            layer = self._own(name)
            for column in constant[name]:
                weight = layer.parameter(layer.incoming)[:, column]
                kept, going = found[layer.incoming][:, column], gone[layer.incoming][:, column]
                whole = weight.clone()
                weight.masked_fill_(kept, 0.0)
                if not fold_column_(layer, column, seen[column]):
                    # Rounding, or a layer of somebody's own: the weights that read it stay.
                    kept |= going
                weight.copy_(torch.where(kept, whole, 0.0))
        apply_masks_(weights, found)
        return found

    def _inputs_of(self, names: Mapping[str, Any]) -> dict[str, Tensor]:
        """Returns the inputs of some layers on example observations: (columns, values) for each."""
        if not names:
            return {}
        seen: dict[str, list[Tensor]] = {name: [] for name in names}
        hooks = []
        for name in names:
            layer = self._layers[name]

            def look(_: nn.Module, args: Any, kwargs: Any, at: Layer = layer) -> None:
                given = args[0] if args else kwargs["input"]
                seen[at.name].append(given.movedim(at.axis, 0).reshape(at.columns, -1).clone())

            hooks.append(self._modules[name].register_forward_pre_hook(look, with_kwargs=True))
        try:
            with evaluating(self._module), fixed_draws():
                generator = torch.Generator().manual_seed(0)
                self._probe.forward(self._module, self._probe.inputs(self._module, generator))
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.cat(calls, dim=1) for name, calls in seen.items()}

    def _own(self, name: str) -> Layer:
        """A layer of this network, where the graph may speak of another one's."""
        return dataclasses.replace(self._layers[name], module=self._modules[name])


def dead_weights(
    module: nn.Module, probe: Probe, graph: Callable[[], Graph], spared: Collection[str] = ()
) -> DeadWeights | None:
    """Returns the finder of a network's dead weights; None, with a warning, if it can't be traced.

    Args:
        module: The network.
        probe: Example inputs and how to run the network on them.
        graph: Finds the coupling of its units.
        spared: Names of matrices that keep their dead weights.
    """
    try:
        return DeadWeights(module, probe, graph(), spared)
    except TraceError as error:
        logger.warning(
            "%s, so that it isn't known which weights are at work: sparsities count all that are kept",
            error.reason,
        )
        return None


def _read(mask: Tensor) -> Array:
    """Columns of a matrix of which any weight is kept."""
    found: Array = mask.transpose(0, 1).flatten(1).any(1).cpu().numpy()
    return found
