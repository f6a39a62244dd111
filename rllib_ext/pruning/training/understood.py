"""Analyses a network before pruning, as far as the configured granularity needs it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection

from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError, TraceError
from rllib_ext.pruning.scope import PrunableWeights, warn_of_unknown_layers
from rllib_ext.pruning.structure.constants import DeadWeights, dead_weights
from rllib_ext.pruning.structure.graph import Graph, Probe
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.paths import Paths


@dataclasses.dataclass(frozen=True)
class Understood:
    """The results of a network's analysis.

    Attributes:
        structure: The groups that go whole; None for single weights.
        dead: Finds dead weights; None where they aren't told apart.
        paths: Follows paths from inputs to outputs; None where the criterion doesn't ask for them.
    """

    structure: Structure | None
    dead: DeadWeights | None
    paths: Paths | None


def understood(
    module: nn.Module,
    config: PruningConfig,
    weights: PrunableWeights,
    graph: Callable[[], Graph] | None,
    probe: Probe | None,
) -> Understood:
    """Analyses a network for a configuration, and names the parts that aren't understood.

    Args:
        module: The network.
        config: The pruning configuration: granularity, and what a sparsity counts.
        weights: The network's prunable matrices.
        graph: Finds the network's coupling. None: of single weights all that are kept are counted.
        probe: Example inputs and how to run the network on them; required with `graph`.

    Raises:
        ConfigError: The network has nothing that could be removed in the configured way, or the
            criterion needs paths that can't be followed.
    """
    everything = {**weights.policy, **weights.critic}
    graph = None if graph is None else functools.cache(graph)
    paths = _paths(module, graph, everything) if config.criterion == "synflow" else None
    if config.granularity != "weight":
        assert graph is not None, "coarser granularities need the network's coupling"
        return Understood(build_structure(graph(), config.granularity, everything), None, paths)
    warn_of_unknown_layers(module)
    return Understood(None, _dead(module, config, weights, graph, probe), paths)


def _dead(
    module: nn.Module,
    config: PruningConfig,
    weights: PrunableWeights,
    graph: Callable[[], Graph] | None,
    probe: Probe | None,
) -> DeadWeights | None:
    if config.count == "kept" or graph is None or probe is None:
        return None
    # A critic without a target stays dense.
    spared = weights.critic if config.critic_final_sparsity == 0 else ()
    return dead_weights(module, probe, graph, spared)


def _paths(module: nn.Module, graph: Callable[[], Graph] | None, weights: Collection[str]) -> Paths:
    try:
        if graph is None:
            raise TraceError("it isn't known how to run it on example inputs")
        return Paths(module, graph(), weights)
    except TraceError as error:
        raise ConfigError(
            "pruning: criterion='synflow' follows all paths from the network's inputs to its outputs, "
            f"but {error.reason}. Exclude layers that aren't understood, or choose another criterion, "
            "such as 'magnitude'."
        ) from error
