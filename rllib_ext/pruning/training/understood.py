"""What pruning has to understand of a network before it begins, by what goes at a time."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.scope import PrunableWeights, warn_of_unknown_layers
from rllib_ext.pruning.structure.constants import DeadWeights, dead_weights
from rllib_ext.pruning.structure.graph import Graph, Probe
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.groups import Structure


def understood(
    module: nn.Module,
    config: PruningConfig,
    weights: PrunableWeights,
    graph: Callable[[], Graph] | None,
    probe: Probe | None,
) -> tuple[Structure | None, DeadWeights | None]:
    """The groups that go whole, or which single weights are dead; names what isn't understood.

    Args:
        module: The network.
        config: What goes at a time, and what a sparsity counts.
        weights: The network's prunable matrices.
        graph: Finds the network's coupling. None: of single weights all that are kept are counted.
        probe: How to run the network; comes with the graph.

    Returns:
        The groups, None for single weights; what finds dead weights, None where they aren't told apart.

    Raises:
        ConfigError: The network has nothing that could be removed in the configured way.
    """
    everything = {**weights.policy, **weights.critic}
    if config.granularity != "weight":
        assert graph is not None, "coarser granularities need the network's coupling"
        return build_structure(graph(), config.granularity, everything), None
    warn_of_unknown_layers(module)
    if config.count == "kept" or graph is None or probe is None:
        return None, None
    # A critic without a target stays dense.
    spared = weights.critic if config.critic_final_sparsity == 0 else ()
    return None, dead_weights(module, probe, graph, spared)
